//! The 33rd port, in a process of its own.

mod common;

use rte::{MAX_PORTS, Port, PortError};

#[test]
fn one_port_too_many_is_a_named_error_and_room_comes_back() {
    let eal = common::eal();
    let attach = |n: usize| Port::attach(eal, &format!("net_null{n}"));
    let mut ports: Vec<Port> = (0..MAX_PORTS).map(|n| attach(n).expect("a port")).collect();
    for _ in 0..3 {
        match attach(99) {
            Err(PortError::TooManyPorts { device }) => assert_eq!(device, "net_null99"),
            other => panic!("{other:?}"),
        }
    }
    let last = ports.pop().expect("a port");
    last.close(Vec::new(), Vec::new()).expect("closed");
    ports.push(attach(99).expect("room again"));
    for port in ports {
        port.close(Vec::new(), Vec::new()).expect("closed");
    }
}
