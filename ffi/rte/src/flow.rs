//! Rules by which a device chooses the receive queue (rte_flow).

use std::ffi::CStr;
use std::ptr::{self, NonNull};

use dpdk_sys as sys;

use crate::error::Cause;
use crate::log;
use crate::port::Port;
use crate::port_types::PortError;

/// Which frames a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FlowMatch {
    /// Those to this MAC address.
    To([u8; 6]),
    /// NVGRE over IPv4 with a frame to this MAC address inside.
    NvgreTo([u8; 6]),
}

/// A rule that a device has. Its port alone can take it back: [`Port::remove_flow`].
#[derive(Debug)]
#[must_use = "a rule that is dropped stays with the device until its port is closed"]
pub struct Flow {
    port: u16,
    rule: NonNull<sys::rte_flow>,
}

// SAFETY: the pointer is only ever given back to DPDK, by the one owner of its port; nothing in it is of a thread.
unsafe impl Send for Flow {}

/// A rule as DPDK wants it: what points into it lives as long as it does.
struct Rule {
    address: sys::rte_flow_item_eth,
    mask: sys::rte_flow_item_eth,
    queue: sys::rte_flow_action_queue,
}

impl Rule {
    fn new(of: FlowMatch, queue: u16) -> Rule {
        let (FlowMatch::To(mac) | FlowMatch::NvgreTo(mac)) = of;
        let to = |mac: [u8; 6]| {
            // SAFETY: numbers, for which all zeroes is a value.
            let mut item: sys::rte_flow_item_eth = unsafe { std::mem::zeroed() };
            item.__bindgen_anon_1.hdr = sys::rte_ether_hdr {
                dst_addr: sys::rte_ether_addr { addr_bytes: mac },
                src_addr: sys::rte_ether_addr { addr_bytes: [0; 6] },
                ether_type: 0,
            };
            item
        };
        Rule {
            address: to(mac),
            mask: to([0xff; 6]),
            queue: sys::rte_flow_action_queue { index: queue },
        }
    }

    /// Asks DPDK with the rule in its form.
    fn ask<T>(
        &self,
        of: FlowMatch,
        call: impl FnOnce(
            *const sys::rte_flow_attr,
            *const sys::rte_flow_item,
            *const sys::rte_flow_action,
            *mut sys::rte_flow_error,
        ) -> T,
    ) -> (T, Option<String>) {
        let any = |kind| sys::rte_flow_item {
            type_: kind,
            spec: ptr::null(),
            last: ptr::null(),
            mask: ptr::null(),
        };
        let address = sys::rte_flow_item {
            type_: sys::RTE_FLOW_ITEM_TYPE_ETH,
            spec: (&raw const self.address).cast(),
            last: ptr::null(),
            mask: (&raw const self.mask).cast(),
        };
        let end = any(sys::RTE_FLOW_ITEM_TYPE_END);
        let pattern = match of {
            FlowMatch::To(_) => vec![address, end],
            FlowMatch::NvgreTo(_) => vec![
                any(sys::RTE_FLOW_ITEM_TYPE_ETH),
                any(sys::RTE_FLOW_ITEM_TYPE_IPV4),
                any(sys::RTE_FLOW_ITEM_TYPE_NVGRE),
                address,
                end,
            ],
        };
        let actions = [
            sys::rte_flow_action {
                type_: sys::RTE_FLOW_ACTION_TYPE_QUEUE,
                conf: (&raw const self.queue).cast(),
            },
            sys::rte_flow_action {
                type_: sys::RTE_FLOW_ACTION_TYPE_END,
                conf: ptr::null(),
            },
        ];
        // SAFETY: numbers, for which all zeroes is a value.
        let mut attr: sys::rte_flow_attr = unsafe { std::mem::zeroed() };
        attr.set_ingress(1);
        // SAFETY: a number and pointers, for which all zeroes is a value.
        let mut error: sys::rte_flow_error = unsafe { std::mem::zeroed() };
        let answer = call(&attr, pattern.as_ptr(), actions.as_ptr(), &mut error);
        let said = (!error.message.is_null()).then(|| {
            // SAFETY: a driver's message is a static string that ends in NUL (rte_flow.h, rte_flow_error).
            let text = unsafe { CStr::from_ptr(error.message) };
            text.to_string_lossy().into_owned()
        });
        (answer, said)
    }
}

impl Port {
    /// Whether its device would take a rule that gives these frames to a receive queue; why not, in the driver's words. Changes nothing.
    pub fn takes_flow(&self, of: FlowMatch, queue: u16) -> Result<(), String> {
        let id = self.id();
        let rule = Rule::new(of, queue);
        let (result, said) = rule.ask(of, |attr, pattern, actions, error| {
            // SAFETY: the port is attached; all that is pointed to lives during the call and the lists end with END.
            unsafe { sys::rte_flow_validate(id, attr, pattern, actions, error) }
        });
        match result {
            0 => Ok(()),
            code => {
                Err(said.unwrap_or_else(|| std::io::Error::from_raw_os_error(-code).to_string()))
            }
        }
    }

    /// Has its device give these frames to a receive queue. The port is started.
    pub fn add_flow(&mut self, of: FlowMatch, queue: u16) -> Result<Flow, PortError> {
        let id = self.id();
        let mark = log::mark();
        let rule = Rule::new(of, queue);
        let (flow, _) = rule.ask(of, |attr, pattern, actions, error| {
            // SAFETY: as `takes_flow`.
            unsafe { sys::rte_flow_create(id, attr, pattern, actions, error) }
        });
        match NonNull::new(flow) {
            Some(rule) => Ok(Flow { port: id, rule }),
            None => Err(PortError::Dpdk {
                port: self.name().to_owned(),
                cause: Cause::of_rte_errno("rte_flow_create", mark),
            }),
        }
    }

    /// Takes a rule of this port back from its device.
    pub fn remove_flow(&mut self, flow: Flow) -> Result<(), PortError> {
        if flow.port != self.id() {
            return Err(PortError::OthersFlow(self.name().to_owned()));
        }
        let mark = log::mark();
        // SAFETY: a pointer and a number, for which all zeroes is a value.
        let mut error: sys::rte_flow_error = unsafe { std::mem::zeroed() };
        // SAFETY: the rule is this port's, was made by it, and is given back once, as it is taken by value.
        let result = unsafe { sys::rte_flow_destroy(self.id(), flow.rule.as_ptr(), &mut error) };
        self.result("rte_flow_destroy", result, mark)
    }
}
