//! A port: a NIC or a virtual device, from attaching to closing.

use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr;

use dpdk_sys as sys;

use crate::device::{self, MAX_PORTS};
use crate::error::Cause;
use crate::interrupt::on_interrupt_thread;
use crate::offload::{RssTypes, RxOffloads, TxOffloads};
use crate::packet_ring::{self, PacketRings};
use crate::pools;
use crate::port_types::{Link, PortConfig, PortError, PortInfo, PortStats};
use crate::queue::Guard;
use crate::{Burst, Eal, Pool, RxQueue, TxQueue, log};

/// A device that is attached. Of one thread at a time, for control; its queues are what workers hold.
///
/// Dropping it leaks it: the device stays as it is, since a queue of it may be polled. [`Port::close`] ends it.
#[derive(Debug)]
#[must_use = "a port that is dropped stays attached for good"]
pub struct Port {
    id: u16,
    name: String,
    info: PortInfo,
    /// Queues that are out, while it is started.
    pub(crate) started: Option<(u16, u16)>,
    /// Nodes of its traffic manager that are there by [`Port::choose_among`], parents first.
    pub(crate) nodes: Vec<u32>,
    /// Of net_af_packet.
    rings: PacketRings,
    _one_owner: PhantomData<Cell<()>>,
}

impl Port {
    /// Attaches a device: a PCI address (`0000:03:00.0`), or a virtual device with its arguments (`net_af_packet0,iface=eth0`).
    /// A device that EAL found at start is taken over. From any thread, while other ports are polled.
    pub fn attach(_eal: &Eal, devargs: &str) -> Result<Port, PortError> {
        let name = devargs.split(',').next().unwrap_or_default();
        let syntax = || PortError::Syntax(devargs.to_owned());
        if name.is_empty() || name.len() > 63 {
            return Err(syntax());
        }
        let c_devargs = CString::new(devargs).map_err(|_| syntax())?;
        let mut claimed = device::claimed();
        let sockets = packet_ring::open_sockets();
        let id = match device::port_named(name) {
            Some(id) => id,
            None => {
                device::check_interface(devargs)?;
                // SAFETY: EAL runs (`_eal`); reads the table of ports, which changes under the lock held here only.
                if usize::from(unsafe { sys::rte_eth_dev_count_total() }) >= MAX_PORTS {
                    let device = devargs.to_owned();
                    return Err(PortError::TooManyPorts { device });
                }
                device::probe(devargs, name, &c_devargs)?
            }
        };
        let slot = &mut claimed[usize::from(id)];
        if *slot {
            return Err(PortError::AlreadyAttached(name.to_owned()));
        }
        let mut port = Port {
            id,
            name: device::name_of(id).unwrap_or_else(|| name.to_owned()),
            info: PortInfo::default(),
            started: None,
            nodes: Vec::new(),
            rings: PacketRings::since(&sockets),
            _one_owner: PhantomData,
        };
        port.info = port.read_info()?;
        *slot = true;
        Ok(port)
    }

    /// Sets it up and starts it. Returns all of its queues: hand each to the one thread that polls it.
    ///
    /// What is received comes from `pool`. A second start needs the queues back first: [`Port::stop`].
    pub fn start(
        &mut self,
        config: &PortConfig,
        pool: Pool,
    ) -> Result<(Vec<RxQueue>, Vec<TxQueue>), PortError> {
        if self.started.is_some() {
            return Err(PortError::AlreadyStarted(self.name.clone()));
        }
        self.check(config)?;
        // SAFETY: all fields are numbers, null pointers and optional function pointers, for which all zeroes is a value.
        let mut conf: sys::rte_eth_conf = unsafe { std::mem::zeroed() };
        conf.rxmode.offloads = config.rx_offloads.bits();
        // Never fast free: with it the driver returns what it sent to one pool, whichever pool it came from, and a safe caller may have
        // several.
        conf.txmode.offloads = config.tx_offloads.bits() & !sys::RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
        conf.rxmode.mtu = match config.mtu {
            Some(mtu) => mtu.into(),
            None => self.mtu().into(),
        };
        // Those that call by other means are not asked for what they do not have.
        let by_dpdk = !self.is_memif() && self.driver() != "net_af_packet";
        conf.intr_conf
            .set_rxq(u32::from(config.interrupts && by_dpdk));
        let hashed = (config.rss & self.info.rss).bits();
        if config.pools {
            pools::configure(&mut conf);
        } else if config.rx_queues > 1 && hashed != 0 {
            conf.rxmode.mq_mode = sys::RTE_ETH_MQ_RX_RSS;
            conf.rx_adv_conf.rss_conf.rss_hf = hashed;
        }
        let (rx, tx) = (config.rx_queues, config.tx_queues);
        let (mut rxd, mut txd) = (config.rx_descriptors, config.tx_descriptors);
        let mark = log::mark();
        // SAFETY: the port is attached and not started; nobody polls it. `conf` is read during the call.
        let result = unsafe { sys::rte_eth_dev_configure(self.id, rx, tx, &conf) };
        self.result("rte_eth_dev_configure", result, mark)?;
        // SAFETY: as above; both numbers are written before the call returns.
        let result = unsafe { sys::rte_eth_dev_adjust_nb_rx_tx_desc(self.id, &mut rxd, &mut txd) };
        self.result("rte_eth_dev_adjust_nb_rx_tx_desc", result, mark)?;
        // SAFETY: reads a number of the port; -1, or SOCKET_ID_ANY, if it has none, which is what the next calls take for any.
        let socket = unsafe { sys::rte_eth_dev_socket_id(self.id) } as u32;
        for queue in 0..rx {
            // SAFETY: the port is configured with `rx` queues and not started; a null configuration means the driver's own; the pool
            // lives as long as the process.
            let result = unsafe {
                sys::rte_eth_rx_queue_setup(self.id, queue, rxd, socket, ptr::null(), pool.as_ptr())
            };
            self.result("rte_eth_rx_queue_setup", result, mark)?;
        }
        for queue in 0..tx {
            // SAFETY: as above, with `tx` queues.
            let result =
                unsafe { sys::rte_eth_tx_queue_setup(self.id, queue, txd, socket, ptr::null()) };
            self.result("rte_eth_tx_queue_setup", result, mark)?;
        }
        if let Some(mtu) = config.mtu {
            self.set_mtu(mtu)?;
        }
        // SAFETY: the port and all of its queues are set up.
        let result = unsafe { sys::rte_eth_dev_start(self.id) };
        self.result("rte_eth_dev_start", result, mark)?;
        let ready = match config.pools {
            true => self.pools_take_every_vlan().or_else(unless_it_cannot),
            false => Ok(()),
        };
        match ready.and_then(|()| self.set_filters(config)) {
            // Those that cannot choose receive everything.
            Err(PortError::Dpdk { cause, .. }) if cause.errno == libc::ENOTSUP => {}
            Err(error) => {
                // SAFETY: nobody has a queue of it yet.
                unsafe { sys::rte_eth_dev_stop(self.id) };
                return Err(error);
            }
            Ok(()) => {}
        }
        self.started = Some((rx, tx));
        self.rings.reset();
        // SAFETY: the port is started with `rx` and `tx` queues; `started` keeps a second set from being made before all of these are
        // given back.
        unsafe {
            let guard = self.guard();
            let rx = (0..rx).map(|queue| RxQueue::new(self.id, queue, guard));
            let tx = (0..tx).map(|queue| TxQueue::new(self.id, queue, txd, guard));
            let (mut rx, tx): (Vec<RxQueue>, Vec<TxQueue>) = (rx.collect(), tx.collect());
            if config.interrupts
                && let Err((call, result)) =
                    rx.iter_mut().try_for_each(|rx| self.find_interrupt(rx))
            {
                self.stop(rx, tx)?;
                self.result(call, result, mark)?;
                return Err(PortError::QueuesHeld(self.name.clone()));
            }
            Ok((rx, tx))
        }
    }

    /// # Safety
    /// The queue is this port's, which was configured with receive interrupts.
    unsafe fn find_interrupt(&self, rx: &mut RxQueue) -> Result<(), (&'static str, libc::c_int)> {
        let driver = self.driver();
        // SAFETY: by the contract; name and socket are the port's own.
        unsafe {
            match (driver.as_str(), CString::new(self.name.as_str())) {
                ("net_memif", Ok(name)) => rx.is_called_by_memif(name),
                ("net_af_packet", _) => {
                    if let Some(socket) = self.rings.only() {
                        rx.is_called_by_socket(socket);
                    }
                }
                _ => rx.find_interrupt()?,
            }
        }
        Ok(())
    }

    /// What its queues hold while they are polled.
    fn guard(&self) -> Option<Guard> {
        if !self.is_memif() {
            return None;
        }
        let name = CString::new(self.name.as_str()).ok()?;
        // SAFETY: the string ends in NUL and names a port of net_memif's, which is closed with all of its queues back.
        unsafe { Guard::new(sys::shim_memif_lock(name.as_ptr())) }
    }

    /// Refuses what DPDK would refuse with a number.
    fn check(&self, config: &PortConfig) -> Result<(), PortError> {
        let info = &self.info;
        let (rx, tx) = (config.rx_queues, config.tx_queues);
        if rx == 0 || tx == 0 || rx > info.max_rx_queues || tx > info.max_tx_queues {
            return Err(PortError::Queues {
                port: self.name.clone(),
                rx,
                tx,
                max_rx: info.max_rx_queues,
                max_tx: info.max_tx_queues,
            });
        }
        if config.pools && rx > info.pools {
            return Err(PortError::Pools {
                port: self.name.clone(),
                wanted: rx,
                has: info.pools,
            });
        }
        let rx = config.rx_offloads.without(info.rx_offloads);
        let tx = config.tx_offloads.without(info.tx_offloads);
        if !rx.is_empty() || !tx.is_empty() {
            let port = self.name.clone();
            return Err(PortError::Offloads { port, rx, tx });
        }
        Ok(())
    }

    /// Stops it; [`Port::start`] may follow, with another configuration. Taking the queues back proves that nobody polls them.
    pub fn stop(&mut self, rx: Vec<RxQueue>, tx: Vec<TxQueue>) -> Result<(), PortError> {
        let own = rx.iter().all(|queue| queue.port == self.id)
            && tx.iter().all(|queue| queue.port == self.id);
        // Each queue is one value, so as many as were handed out are all of them.
        let (rx_out, tx_out) = self.started.unwrap_or_default();
        if !own || rx.len() != usize::from(rx_out) || tx.len() != usize::from(tx_out) {
            return Err(PortError::QueuesHeld(self.name.clone()));
        }
        if self.started.is_some() {
            let mark = log::mark();
            let id = self.id;
            // SAFETY: all queues are back, so nobody polls the port.
            let result = self.apart_from_handlers(move || unsafe { sys::rte_eth_dev_stop(id) });
            self.result("rte_eth_dev_stop", result, mark)?;
            self.started = None;
            self.forget_tree();
        }
        Ok(())
    }

    /// Does what frees a port's parts when none of the driver's interrupt handlers runs, if they do not look after that themselves.
    fn apart_from_handlers<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match self.is_memif() {
            true => on_interrupt_thread(work),
            false => work(),
        }
    }

    /// Stops it, closes it and removes the device. Taking the queues back (none, if it was never started) proves that nobody polls
    /// them. The mbufs in its queues are freed.
    pub fn close(mut self, mut rx: Vec<RxQueue>, tx: Vec<TxQueue>) -> Result<(), PortError> {
        if self.driver() == "net_ring" {
            // Frees its rings with what is in them, or finds them again, full, when it is attached again.
            let mut burst = Burst::new();
            for queue in rx.iter_mut().filter(|queue| queue.port == self.id) {
                while queue.rx(&mut burst) > 0 {
                    burst.clear();
                }
            }
        }
        let mut claimed = device::claimed();
        let hardware = self.raw_info()?.device;
        self.stop(rx, tx)?;
        let mark = log::mark();
        let id = self.id;
        // SAFETY: the port is stopped and nobody polls it.
        let closed = self.apart_from_handlers(move || unsafe { sys::rte_eth_dev_close(id) });
        // SAFETY: the device is the port's own, read before closing as closing forgets it, and no other thread removes devices while
        // the lock is held.
        unsafe {
            // From here on the number may be another port's.
            claimed[usize::from(self.id)] = false;
            let removed = match hardware.is_null() || device::has_claimed_port(hardware, &claimed) {
                true => 0,
                false => sys::rte_dev_remove(hardware),
            };
            self.result("rte_eth_dev_close", closed, mark)?;
            self.result("rte_dev_remove", removed, mark)
        }
    }

    /// DPDK's number of it: [`Mbuf::port`](crate::Mbuf::port).
    #[must_use]
    pub fn id(&self) -> u16 {
        self.id
    }

    /// DPDK's name of it, such as `net_af_packet0` or `0000:03:00.0`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its driver, such as `net_af_packet`.
    #[must_use]
    pub fn driver(&self) -> String {
        match self.raw_info() {
            Ok(info) if !info.driver_name.is_null() => {
                // SAFETY: a static string of the driver's that ends in NUL.
                let name = unsafe { CStr::from_ptr(info.driver_name) };
                name.to_string_lossy().into_owned()
            }
            _ => String::new(),
        }
    }

    /// What the device can do, as it said when it was attached.
    #[must_use]
    pub fn info(&self) -> PortInfo {
        self.info
    }

    fn is_memif(&self) -> bool {
        self.driver() == "net_memif"
    }

    fn read_info(&self) -> Result<PortInfo, PortError> {
        let info = self.raw_info()?;
        // SAFETY: reads a number of an attached port.
        let socket = unsafe { sys::rte_eth_dev_socket_id(self.id) };
        Ok(PortInfo {
            max_rx_queues: info.max_rx_queues,
            max_tx_queues: info.max_tx_queues,
            rx_offloads: RxOffloads::from_bits(info.rx_offload_capa),
            tx_offloads: TxOffloads::from_bits(info.tx_offload_capa),
            rss: RssTypes::from_bits(info.flow_type_rss_offloads),
            min_mtu: info.min_mtu,
            max_mtu: info.max_mtu,
            max_frame: info.max_rx_pktlen,
            max_macs: info.max_mac_addrs,
            pools: info.max_vmdq_pools,
            pool_queues: info.vmdq_queue_num,
            socket: u32::try_from(socket).ok(),
            max_rx_descriptors: info.rx_desc_lim.nb_max,
            fastest: fastest(info.speed_capa),
        })
    }

    fn raw_info(&self) -> Result<sys::rte_eth_dev_info, PortError> {
        let mut info = MaybeUninit::zeroed();
        let mark = log::mark();
        // SAFETY: the port is attached; `info` is written during the call.
        let result = unsafe { sys::rte_eth_dev_info_get(self.id, info.as_mut_ptr()) };
        self.result("rte_eth_dev_info_get", result, mark)?;
        // SAFETY: it was zeroed, which is a value of the struct, and written by the call.
        Ok(unsafe { info.assume_init() })
    }

    /// Its MAC address.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        let mut mac = sys::rte_ether_addr { addr_bytes: [0; 6] };
        // SAFETY: the port is attached; `mac` is written during the call, or stays zero.
        unsafe { sys::rte_eth_macaddr_get(self.id, &mut mac) };
        mac.addr_bytes
    }

    /// Gives it another MAC address. Many drivers cannot.
    pub fn set_mac(&mut self, mac: [u8; 6]) -> Result<(), PortError> {
        let mut mac = sys::rte_ether_addr { addr_bytes: mac };
        let mark = log::mark();
        // SAFETY: the port is attached; `mac` is read during the call.
        let result = unsafe { sys::rte_eth_dev_default_mac_addr_set(self.id, &mut mac) };
        self.result("rte_eth_dev_default_mac_addr_set", result, mark)
    }

    /// Receives for another MAC address too, into VMDq pool `pool`, 0 without VMDq.
    pub fn add_mac(&mut self, mac: [u8; 6], pool: u32) -> Result<(), PortError> {
        let mut mac = sys::rte_ether_addr { addr_bytes: mac };
        let mark = log::mark();
        // SAFETY: as `set_mac`.
        let result = unsafe { sys::rte_eth_dev_mac_addr_add(self.id, &mut mac, pool) };
        self.result("rte_eth_dev_mac_addr_add", result, mark)
    }

    /// Undoes [`Port::add_mac`], in all VMDq pools.
    pub fn remove_mac(&mut self, mac: [u8; 6]) -> Result<(), PortError> {
        let mut mac = sys::rte_ether_addr { addr_bytes: mac };
        let mark = log::mark();
        // SAFETY: as `set_mac`.
        let result = unsafe { sys::rte_eth_dev_mac_addr_remove(self.id, &mut mac) };
        self.result("rte_eth_dev_mac_addr_remove", result, mark)
    }

    /// Receives what is for these multicast MAC addresses, and for no others. ENOTSUP (95) from drivers that cannot choose.
    pub fn set_groups(&mut self, groups: &[[u8; 6]]) -> Result<(), PortError> {
        let mut list: Vec<sys::rte_ether_addr> = groups
            .iter()
            .map(|&addr_bytes| sys::rte_ether_addr { addr_bytes })
            .collect();
        let mark = log::mark();
        // SAFETY: the port is attached; the list has as many addresses as it says, and is read during the call.
        let result = unsafe {
            sys::rte_eth_dev_set_mc_addr_list(self.id, list.as_mut_ptr(), list.len() as u32)
        };
        self.result("rte_eth_dev_set_mc_addr_list", result, mark)
    }

    /// Its MTU in bytes.
    #[must_use]
    pub fn mtu(&self) -> u16 {
        let mut mtu = 1500;
        // SAFETY: the port is attached; `mtu` is written during the call, or stays.
        unsafe { sys::rte_eth_dev_get_mtu(self.id, &mut mtu) };
        mtu
    }

    /// Sets its MTU in bytes. A driver that has none to set (ring, null, pcap) agrees to every one that [`PortInfo`] allows.
    pub fn set_mtu(&mut self, mtu: u16) -> Result<(), PortError> {
        let mark = log::mark();
        // SAFETY: the port is attached.
        let result = unsafe { sys::rte_eth_dev_set_mtu(self.id, mtu) };
        let allowed = (self.info.min_mtu..=self.info.max_mtu).contains(&mtu);
        if result == -libc::ENOTSUP && allowed {
            return Ok(());
        }
        self.result("rte_eth_dev_set_mtu", result, mark)
    }

    /// Its link now, without waiting for one.
    #[must_use]
    pub fn link(&self) -> Link {
        // SAFETY: rte_eth_link is numbers, for which all zeroes (down) is a value.
        let mut link: sys::rte_eth_link = unsafe { std::mem::zeroed() };
        // SAFETY: the port is attached; `link` is written during the call, or stays.
        unsafe { sys::rte_eth_link_get_nowait(self.id, &mut link) };
        let known = link.link_speed != 0 && link.link_speed != sys::RTE_ETH_SPEED_NUM_UNKNOWN;
        Link {
            up: link.link_status() != 0,
            mbit: known.then_some(link.link_speed),
        }
    }

    /// Its counters, while its queues are polled, without slowing them. All 0 from a driver that keeps none. To net_af_packet's
    /// `imissed` is added what the kernel dropped since the start because the socket's ring was full.
    #[must_use]
    pub fn stats(&self) -> PortStats {
        // SAFETY: rte_eth_stats is numbers, for which all zeroes is a value.
        let mut stats: sys::rte_eth_stats = unsafe { std::mem::zeroed() };
        // SAFETY: the port is attached; `stats` is written during the call, or stays zero.
        unsafe { sys::rte_eth_stats_get(self.id, &mut stats) };
        PortStats {
            ipackets: stats.ipackets,
            opackets: stats.opackets,
            ibytes: stats.ibytes,
            obytes: stats.obytes,
            imissed: stats.imissed + self.rings.dropped(),
            ierrors: stats.ierrors,
            oerrors: stats.oerrors,
            rx_nombuf: stats.rx_nombuf,
        }
    }

    /// The driver's own counters, by the driver's own names; none if it has none.
    #[must_use]
    pub fn xstats(&self) -> Vec<(String, u64)> {
        // SAFETY: the port is attached; a null array asks for the number of counters.
        let count = unsafe { sys::rte_eth_xstats_get_names(self.id, ptr::null_mut(), 0) };
        let count = usize::try_from(count).unwrap_or(0);
        // SAFETY: both structs are numbers and characters, for which all zeroes is a value.
        let mut names: Vec<sys::rte_eth_xstat_name> = vec![unsafe { std::mem::zeroed() }; count];
        // SAFETY: as above.
        let mut values: Vec<sys::rte_eth_xstat> = vec![unsafe { std::mem::zeroed() }; count];
        // SAFETY: both arrays have room for `count`; a device that has more by now writes nothing and says so.
        let (named, valued) = unsafe {
            (
                sys::rte_eth_xstats_get_names(self.id, names.as_mut_ptr(), count as u32),
                sys::rte_eth_xstats_get(self.id, values.as_mut_ptr(), count as u32),
            )
        };
        if usize::try_from(named) != Ok(count) || !usize::try_from(valued).is_ok_and(|n| n <= count)
        {
            return Vec::new();
        }
        values[..valued as usize]
            .iter()
            .filter_map(|xstat| {
                let name = &names.get(xstat.id as usize)?.name;
                // SAFETY: DPDK ends each name with NUL within its array.
                let name = unsafe { CStr::from_ptr(name.as_ptr()) };
                Some((name.to_string_lossy().into_owned(), xstat.value))
            })
            .collect()
    }

    /// What the device lets through besides its own address and broadcast. ENOTSUP (95) from drivers that cannot choose.
    fn set_filters(&mut self, config: &PortConfig) -> Result<(), PortError> {
        let mut promiscuous = config.promiscuous;
        if config.all_multicast && !promiscuous {
            match self.set_all_multicast() {
                Err(PortError::Dpdk { cause, .. }) if cause.errno == libc::ENOTSUP => {
                    promiscuous = true;
                }
                other => other?,
            }
        }
        self.set_promiscuous(promiscuous)
    }

    /// Receives what is addressed to any group. ENOTSUP (95) from drivers that cannot choose.
    fn set_all_multicast(&mut self) -> Result<(), PortError> {
        let mark = log::mark();
        // SAFETY: the port is attached.
        let result = unsafe { sys::rte_eth_allmulticast_enable(self.id) };
        self.result("rte_eth_allmulticast_enable", result, mark)
    }

    /// Receives what is addressed to others too, or no longer. ENOTSUP (95) from drivers that cannot choose.
    pub fn set_promiscuous(&mut self, on: bool) -> Result<(), PortError> {
        let mark = log::mark();
        // SAFETY: the port is attached.
        let result = unsafe {
            match on {
                true => sys::rte_eth_promiscuous_enable(self.id),
                false => sys::rte_eth_promiscuous_disable(self.id),
            }
        };
        self.result("rte_eth_promiscuous", result, mark)
    }

    /// What a call into DPDK gave, which is negative if it failed.
    pub(crate) fn result(
        &self,
        call: &'static str,
        result: libc::c_int,
        mark: u64,
    ) -> Result<(), PortError> {
        if result >= 0 {
            return Ok(());
        }
        Err(PortError::Dpdk {
            port: self.name.clone(),
            cause: Cause::new(call, result, mark),
        })
    }
}

/// Mbit/s of the fastest of these links.
fn fastest(capable: u32) -> Option<u32> {
    const SPEEDS: [u32; 12] = [
        sys::RTE_ETH_SPEED_NUM_200G,
        sys::RTE_ETH_SPEED_NUM_100G,
        sys::RTE_ETH_SPEED_NUM_56G,
        sys::RTE_ETH_SPEED_NUM_50G,
        sys::RTE_ETH_SPEED_NUM_40G,
        sys::RTE_ETH_SPEED_NUM_25G,
        sys::RTE_ETH_SPEED_NUM_20G,
        sys::RTE_ETH_SPEED_NUM_10G,
        sys::RTE_ETH_SPEED_NUM_5G,
        sys::RTE_ETH_SPEED_NUM_2_5G,
        sys::RTE_ETH_SPEED_NUM_1G,
        sys::RTE_ETH_SPEED_NUM_100M,
    ];
    let full = sys::RTE_ETH_LINK_FULL_DUPLEX as libc::c_int;
    // SAFETY: a table of numbers.
    let flag = |speed| unsafe { sys::rte_eth_speed_bitflag(speed, full) };
    let mut speeds = SPEEDS.into_iter();
    speeds.find(|&speed| capable & flag(speed) != 0)
}

/// Nothing is wrong where a driver has no such setting.
fn unless_it_cannot(error: PortError) -> Result<(), PortError> {
    match error {
        PortError::Dpdk { cause, .. } if cause.errno == libc::ENOTSUP => Ok(()),
        other => Err(other),
    }
}
