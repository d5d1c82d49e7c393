//! Marked datagrams of both tenants at once, between the same addresses, MACs and ports, and a listener in every
//! namespace that sees all that arrives there. Only the mark tells whose a packet is, so that a leak cannot hide.

use super::plan::{HOSTS, TENANTS, Tenant, Vm, vms};
use super::stop::{Halt, Stop};
use super::world::{World, enter_this_thread};
use rustix::net::sockopt::{Timeout, set_socket_recv_buffer_size_force, set_socket_timeout};
use rustix::net::{AddressFamily, Protocol, RawProtocol, RecvFlags, SocketFlags, SocketType};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Datagrams that each VM sends.
pub const EACH: u32 = 2000;
/// Sent together, before a pause: what the ring of a veth's socket takes at once, several times over.
const BATCH: u32 = 16;
const PAUSE: Duration = Duration::from_millis(4);
/// What the last datagram may take to arrive.
const SETTLES: Duration = Duration::from_millis(400);
const PORT: u16 = 7000;
/// ETH_P_ALL, in network order, as a packet socket wants it.
const ALL_PROTOCOLS: u16 = 0x0003;
/// Bytes a listener may have waiting.
const BUFFER: usize = 8 << 20;

/// What a listener has seen: by the mark's tenant, and, for what was inside NVGRE, by VSID too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Plain packets to this VM's address.
    pub plain: BTreeMap<&'static str, u64>,
    /// Packets inside NVGRE, by tenant and VSID.
    pub nvgre: BTreeMap<(&'static str, u32), u64>,
}

/// Sends all marks of all VMs at once and returns what each VM and each host has seen, by name.
pub fn exchange(world: &World, stop: &Stop) -> Result<BTreeMap<String, Seen>, Halt> {
    let listening = AtomicUsize::new(0);
    let over = AtomicBool::new(false);
    let failed = |what: &str, error: io::Error| Halt::failed(format!("{what}: {error}"));
    thread::scope(|scope| {
        let mut places: Vec<(String, Option<Vm>)> = vms().map(|vm| (vm.name(), Some(vm))).collect();
        places.extend(HOSTS.map(|(name, _)| (name.to_string(), None)));
        let mut listeners = Vec::new();
        for (name, vm) in places {
            let namespace = world.name(&name);
            let (listening, over) = (&listening, &over);
            let work = move || listen(&namespace, vm, listening, over);
            listeners.push((name, scope.spawn(work)));
        }
        let all = listeners.len();
        let ready = stop.wait_for(Duration::from_secs(5), || {
            Ok((listening.load(Ordering::SeqCst) == all).then_some(()))
        });
        let mut sent = Ok(());
        if matches!(ready, Ok(Some(()))) {
            let senders: Vec<_> = vms()
                .map(|vm| {
                    let namespace = world.name(&vm.name());
                    scope.spawn(move || send(&namespace, vm, stop))
                })
                .collect();
            for sender in senders {
                let result = sender
                    .join()
                    .unwrap_or_else(|_| Err(io::Error::other("panicked")));
                sent = sent.and(result);
            }
            thread::sleep(SETTLES);
        }
        over.store(true, Ordering::SeqCst);
        let mut seen = BTreeMap::new();
        for (name, listener) in listeners {
            let result = listener
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("panicked")));
            let one = result.map_err(|error| failed(&format!("listening in {name}"), error))?;
            seen.insert(name, one);
        }
        stop.check()?;
        ready?.ok_or_else(|| Halt::failed("the listeners do not start"))?;
        sent.map_err(|error| failed("sending marked datagrams", error))?;
        Ok(seen)
    })
}

/// Sends a VM's marks to its tenant's VM on the other host.
fn send(namespace: &str, vm: Vm, stop: &Stop) -> io::Result<()> {
    enter_this_thread(namespace)?;
    let [first, second] = vm.tenant.vms();
    let peer = if vm.host == first.host { second } else { first };
    let socket = UdpSocket::bind((vm.address(), PORT + 1))?;
    for number in 0..EACH {
        let mark = format!("{}{number:08}", mark(vm.tenant));
        socket.send_to(mark.as_bytes(), (peer.address(), PORT))?;
        if number % BATCH == BATCH - 1 {
            thread::sleep(PAUSE);
            if stop.check().is_err() {
                break;
            }
        }
    }
    Ok(())
}

fn mark(tenant: Tenant) -> String {
    format!("weir demo of {:>8} ", tenant.name)
}

/// Reads every frame of a namespace until it is over.
fn listen(
    namespace: &str,
    vm: Option<Vm>,
    listening: &AtomicUsize,
    over: &AtomicBool,
) -> io::Result<Seen> {
    enter_this_thread(namespace)?;
    let socket = packet_socket()?;
    // Held open: without it the kernel would answer every datagram with an ICMP error.
    let _port = vm
        .map(|vm| UdpSocket::bind((vm.address(), PORT)))
        .transpose()?;
    listening.fetch_add(1, Ordering::SeqCst);
    let own = vm.and_then(|vm| vm.address().parse::<Ipv4Addr>().ok());
    let mut seen = Seen::default();
    let mut frame = vec![0u8; 4096];
    loop {
        match rustix::net::recv(&socket, &mut frame, RecvFlags::empty()) {
            Ok((len, _)) => note(&mut seen, frame.get(..len).unwrap_or(&[]), own),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {
                if over.load(Ordering::SeqCst) {
                    return Ok(seen);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn packet_socket() -> io::Result<OwnedFd> {
    let all = RawProtocol::new(u32::from(ALL_PROTOCOLS.to_be())).map(Protocol::from_raw);
    let (family, kind) = (AddressFamily::PACKET, SocketType::RAW);
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, all)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_millis(50)))?;
    // A smaller buffer only loses some of the evidence, and then the count of one's own marks says so.
    let _ = set_socket_recv_buffer_size_force(&socket, BUFFER);
    Ok(socket)
}

/// Counts one frame. `own`: the VM's address, to tell what arrives from what leaves.
fn note(seen: &mut Seen, frame: &[u8], own: Option<Ipv4Addr>) {
    let Some(packet) = ipv4(frame) else { return };
    match packet.protocol {
        17 if own == Some(packet.to) => {
            if let Some(tenant) = packet.payload.get(8..).and_then(marked) {
                *seen.plain.entry(tenant).or_default() += 1;
            }
        }
        47 => {
            // RFC 7637 §3.2: key present, transparent Ethernet bridging; VSID and FlowID.
            let [0x20, 0x00, 0x65, 0x58, a, b, c, _flow, inner @ ..] = packet.payload else {
                return;
            };
            let inner = ipv4(inner).and_then(|inner| marked(inner.payload.get(8..)?));
            if let Some(tenant) = inner {
                let vsid = u32::from_be_bytes([0, *a, *b, *c]);
                *seen.nvgre.entry((tenant, vsid)).or_default() += 1;
            }
        }
        _ => {}
    }
}

struct Packet<'a> {
    to: Ipv4Addr,
    protocol: u8,
    payload: &'a [u8],
}

fn ipv4(frame: &[u8]) -> Option<Packet<'_>> {
    let [0x08, 0x00, packet @ ..] = frame.get(12..)? else {
        return None;
    };
    let header = usize::from(packet.first()? & 0x0F) * 4;
    let to = packet.get(16..20)?;
    Some(Packet {
        to: Ipv4Addr::new(to[0], to[1], to[2], to[3]),
        protocol: *packet.get(9)?,
        payload: packet.get(header..)?,
    })
}

fn marked(payload: &[u8]) -> Option<&'static str> {
    let tenant = TENANTS
        .into_iter()
        .find(|tenant| payload.starts_with(mark(*tenant).as_bytes()))?;
    Some(tenant.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(protocol: u8, to: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0]);
        frame.extend([0; 4]);
        frame.extend(to);
        frame.extend(payload);
        frame
    }

    #[test]
    fn a_mark_is_seen_where_it_arrives_and_inside_nvgre() {
        let mut udp = vec![0; 8];
        udp.extend(mark(TENANTS[1]).as_bytes());
        let plain = frame(17, [10, 1, 0, 12], &udp);
        let mut gre = vec![0x20, 0, 0x65, 0x58, 0, 0x17, 0x71, 9];
        gre.extend(&plain);
        let mut seen = Seen::default();
        let own = Some(Ipv4Addr::new(10, 1, 0, 12));
        note(&mut seen, &plain, own);
        note(&mut seen, &plain, Some(Ipv4Addr::new(10, 1, 0, 11)));
        note(&mut seen, &frame(47, [192, 168, 50, 2], &gre), None);
        for len in 0..plain.len() {
            note(&mut Seen::default(), &plain[..len], own);
        }
        assert_eq!(seen.plain, BTreeMap::from([("red", 1)]));
        assert_eq!(seen.nvgre, BTreeMap::from([(("red", 6001), 1)]));
    }
}
