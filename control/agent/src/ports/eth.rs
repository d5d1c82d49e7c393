//! Opening a port of DPDK: what its driver can do is asked, what is wished is held against that.

use rte::{Eal, FlowMatch, Pool, PortConfig};
use weir_wire::Mac;
use weir_worker::device::{Rx, Tx};

use super::{Handle, MTU, Opened, Refused, Wish};
use crate::aims::choice::{self, Choice};
use crate::offloads::{Asked, ask, tags_are_its_pfs};
use crate::rest::{self, By, Rest};
use crate::vf::host::{Host, ThisMachine};
use crate::vf::token;
use crate::{memif, nic_classes, packet_socket, patience};

/// Packets that a device's queue holds, but the receive queues of fast ones whose workers are to sleep ([`patience::places`]).
pub(crate) const DESCRIPTORS: u16 = 1024;

pub(super) fn open(
    eal: &Eal,
    pool: Pool,
    devargs: &str,
    mut wish: Wish,
) -> Result<Opened, Refused> {
    // Drivers that refuse an MTU above 1500 and carry more: it is asked for elsewhere, and not of them.
    let socket = devargs.starts_with("net_af_packet");
    let own_mtu = match socket {
        true => Some(packet_socket::mtu(devargs, wish.mtu.take())?),
        false if devargs.starts_with("net_memif") => Some(memif::mtu(devargs, wish.mtu.take())?),
        false => None,
    };
    let address = devargs.split(',').next().unwrap_or_default();
    let vfs = token::vfs(&ThisMachine, address);
    let port = rte::Port::attach(eal, devargs);
    let mut port = port.map_err(|error| unopened(&ThisMachine, address, &error))?;
    if vfs > 0 {
        // The NIC's pools of queues are its VFs', and one is left to the PF (igb_check_mq_mode).
        wish.queues = 1;
        wish.classes = false;
    }
    let asked = match wish.software {
        true => Asked::default(),
        false => ask(&port.driver(), &port.info(), wish.promiscuous),
    };
    let (info, driver) = (port.info(), port.driver());
    let steer = choice::Asked {
        wish: wish.steering,
        driver: &driver,
        info: &info,
        mtu: wish.mtu.or(own_mtu).unwrap_or_else(|| port.mtu()),
        queues: wish.queues.clamp(1, info.max_rx_queues.max(1)),
        workers: wish.workers,
        vfs,
    };
    let pools = match steer.pools() {
        Ok(pools) => pools,
        Err(cannot) => return Err(give_up(port, Queues::default(), cannot)),
    };
    let mut interrupts = match wish.adaptive && rest::may_call(devargs) {
        // With those of queues on, igb's driver leaves out the one by which VFs call (eth_igb_configure_msix_intr), and no VF comes up.
        true if vfs > 0 => Err("its VFs need the driver's interrupt for themselves".into()),
        true => Ok("its queues have interrupts"),
        false => Err("its driver has no interrupts".into()),
    };
    let places = match wish.adaptive && !devargs.starts_with("net_") {
        true => {
            let (most, queues) = (info.max_rx_descriptors, steer.queues);
            patience::places(info.fastest, most, queues, pool.size())
        }
        false => DESCRIPTORS,
    };
    let mut starting = |interrupts| start(&mut port, pool, wish, asked, pools, places, interrupts);
    let mut started = starting(interrupts.is_ok());
    if let (Ok(_), Err(error)) = (&interrupts, &started) {
        interrupts = Err(format!("it has no interrupts for its queues: {error}"));
        started = starting(false);
    }
    if let Ok((rx, _)) = &mut started
        && socket
        && !packet_socket::forget(devargs, rx, pool)
    {
        let (rx, tx) = started.unwrap_or_default();
        if let Err(error) = port.close(rx, tx) {
            tracing::warn!("{error}");
        }
        return Err(Refused {
            problem: "no free mbuf to empty its ring with".into(),
            mend: "raise dataplane.mbufs in host.toml and restart".into(),
        });
    }
    if let (Ok(_), Ok((rx, _))) = (&interrupts, &started)
        && !rx.iter().all(rte::RxQueue::has_interrupt)
    {
        interrupts = Err("its queues have no interrupts".into());
    }
    let mbit = port.link().mbit.or(info.fastest);
    let pace = patience::of_port(&driver, devargs, places, mbit);
    let rest = Rest::choose(wish.adaptive, pace, interrupts);
    if let Ok((rx, _)) = &mut started
        && rest.by != By::Interrupt
    {
        rx.iter_mut().for_each(rte::RxQueue::forget_interrupt);
    }
    if vfs > 0
        && driver == choice::IGB
        && started.is_ok()
        && let Err(error) = port.add_mac(port.mac(), u32::from(vfs))
    {
        // Its start sets the MAC once more, without the PF's pool, the one behind its VFs' (eth_dev_mac_restore, e1000_rar_set).
        tracing::warn!(%devargs, "what is for its own MAC may not reach it beside its VFs: {error}");
    }
    match started {
        Ok((rx, mut tx)) => {
            let steer = match choose(&port, &steer, pools) {
                Ok(choice) => choice,
                Err(cannot) => return Err(give_up(port, (rx, tx), cannot)),
            };
            let driver = port.driver();
            // Those of workers first, then those that are for classes.
            let workers = wish.queues.clamp(1, info.max_tx_queues.max(1));
            let spare = tx.split_off(tx.len().min(usize::from(workers)));
            Ok(Opened {
                steer,
                mac: Mac::new(port.mac()),
                mtu: own_mtu.unwrap_or(match port.mtu() {
                    0 => MTU,
                    mtu => mtu,
                }),
                suspect_checksums: driver == "net_af_packet",
                pushes_back: pushes_back(&driver),
                places,
                pace,
                rest,
                offloads: asked.offloads,
                rx: match tags_are_its_pfs(&driver, wish) {
                    true => rx.into_iter().map(Rx::Vf).collect(),
                    false => rx.into_iter().map(Rx::Eth).collect(),
                },
                tx: tx.into_iter().map(Tx::Eth).collect(),
                handle: Handle::Eth(port, spare),
            })
        }
        Err(error) => {
            let refused = refused(&error);
            if let Err(error) = port.close(Vec::new(), Vec::new()) {
                tracing::warn!("{error}");
            }
            Err(refused)
        }
    }
}

/// What a started device steers by: it is asked about rules.
fn choose(
    port: &rte::Port,
    steer: &choice::Asked<'_>,
    pools: bool,
) -> Result<Choice, choice::Cannot> {
    // An address that is nobody's.
    const SOME: [u8; 6] = [2, 0, 0, 0, 0, 1];
    let takes = |of| match steer.asks_flows() && !pools {
        true => port.takes_flow(of, 0),
        false => Err(String::new()),
    };
    let (to, nvgre) = (takes(FlowMatch::To(SOME)), takes(FlowMatch::NvgreTo(SOME)));
    steer.choose(pools, to, nvgre)
}

/// Closes a device that cannot do what is wished.
fn give_up(port: rte::Port, (rx, tx): Queues, cannot: choice::Cannot) -> Refused {
    if let Err(error) = port.close(rx, tx) {
        tracing::warn!("{error}");
    }
    Refused {
        problem: cannot.problem,
        mend: cannot.mend.into(),
    }
}

/// Whether what a driver is not asked for stays with its sender: behind a ring in memory it does. A kernel drops what a packet
/// socket or a tap has no room for (tun_net_xmit), a NIC what it has no descriptor for.
fn pushes_back(driver: &str) -> bool {
    matches!(
        driver,
        "net_memif" | "net_vhost" | "net_ring" | "net_null" | "net_pcap"
    )
}

type Queues = (Vec<rte::RxQueue>, Vec<rte::TxQueue>);

fn start(
    port: &mut rte::Port,
    pool: Pool,
    wish: Wish,
    asked: Asked,
    pools: bool,
    places: u16,
    interrupts: bool,
) -> Result<Queues, rte::PortError> {
    let info = port.info();
    if let Some(mac) = wish.mac {
        port.set_mac(mac.octets())?;
    }
    let queues = wish.queues.max(1);
    let class_queues = match wish.classes {
        true => nic_classes::queues(&port.class_hardware(), info.max_tx_queues),
        false => 1,
    };
    let config = PortConfig {
        rx_queues: queues.min(info.max_rx_queues),
        tx_queues: queues.max(class_queues).min(info.max_tx_queues),
        rx_descriptors: places,
        tx_descriptors: DESCRIPTORS,
        mtu: wish.mtu,
        rx_offloads: asked.rx,
        tx_offloads: asked.tx,
        promiscuous: wish.promiscuous,
        all_multicast: wish.all_multicast,
        rss: if queues > 1 {
            info.rss
        } else {
            rte::RssTypes::NONE
        },
        pools,
        interrupts,
    };
    port.start(&config, pool)
}

/// A device that could not be attached. Of one that the kernel opens with a token alone DPDK says next to nothing: not even that it did not
/// open, as it had tried before, when EAL started.
fn unopened(host: &impl Host, address: &str, error: &rte::PortError) -> Refused {
    let mut told = refused(error);
    if let Some((why, mend)) = token::why_not(host, address) {
        told.problem = format!("{why}; {}", told.problem);
        told.mend = mend.into();
    }
    told
}

fn refused(error: &rte::PortError) -> Refused {
    use rte::PortError as E;
    let mend = match error {
        E::NoSuchDevice { .. } => {
            "create the interface or check its name; `weir doctor` lists what this machine lacks"
        }
        E::AlreadyAttached(_) => "give each device to one port, and each vdev a number of its own",
        E::TooManyPorts { .. } => {
            "put many vNICs on one port with a trunk, or use vhost-user, which takes no DPDK port"
        }
        E::Syntax(_) => "write a PCI address or a DPDK vdev such as \"net_af_packet1,iface=blue1\"",
        E::Dpdk { .. } => {
            "see the daemon's log for what DPDK said; `weir doctor` checks rights and hugepages"
        }
        _ => "lower the MTU or leave it out, and check what the device can do",
    };
    Refused {
        problem: error.to_string(),
        mend: mend.into(),
    }
}
