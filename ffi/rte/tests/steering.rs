//! Which receive queue a device chooses, on devices that need no NIC. VMDq itself is seen in the lab (`scripts/lab run vmdq`).

mod common;

use common::{eal, pool, started, unique};
use rte::{FlowMatch, Port, PortConfig, PortError};

const TO: FlowMatch = FlowMatch::To([2, 0, 0, 0, 0, 1]);
const INSIDE: FlowMatch = FlowMatch::NvgreTo([2, 0, 0, 0, 0, 1]);

#[test]
fn a_device_without_rules_or_pools_says_so() {
    let pool = pool(1023);
    let (mut port, rx, tx) = started(&unique("net_ring"), pool);
    assert_eq!((port.info().pools, port.info().pool_queues), (0, 0));
    for of in [TO, INSIDE] {
        assert!(port.takes_flow(of, 0).is_err(), "{of:?}");
        let error = port.add_flow(of, 0).expect_err("no rules");
        assert!(
            matches!(&error, PortError::Dpdk { cause, .. } if cause.call == "rte_flow_create" && cause.errno > 0),
            "{error}"
        );
    }
    port.close(vec![rx], vec![tx]).expect("closed");

    let name = unique("net_ring");
    let mut port = Port::attach(eal(), &name).expect("a port");
    let config = PortConfig {
        pools: true,
        ..PortConfig::default()
    };
    let error = port.start(&config, pool).expect_err("no pools");
    assert_eq!(
        error,
        PortError::Pools {
            port: name,
            wanted: 1,
            has: 0
        }
    );
    port.close(Vec::new(), Vec::new()).expect("closed");
}
