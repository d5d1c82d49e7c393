//! From desired state to tables, ports and neighbours.
//!
//! *Which question:* what does the policy mean on this host, and how does it become true without stopping a packet?
//! *Which place:* one control thread ([`daemon`]); everyone else in the process asks it through a [`handle`].
//! *Trade-offs:* a policy is validated whole and applied whole ([`transaction`]); control may wait for workers
//! (microseconds), workers never wait for control.
//!
//! | file | subject |
//! |---|---|
//! | [`config`] | host.toml |
//! | [`policy`] | policy.toml: what it says, and every reason to refuse it |
//! | [`store`] | where policy comes from |
//! | [`plan`] | what a policy means on this host |
//! | [`transaction`] | from one plan to the next |
//! | [`tables`] | the writers of what workers read, and who has which index |
//! | [`settling`] | how long a change takes until it is seen, and what it replaced is free |
//! | [`crew`] | the workers, as control knows them |
//! | [`ports`] | opening and closing devices |
//! | [`sharing`] | capacities of uplinks, promises, traffic classes |
//! | [`neighbors`] | ARP on the provider network |
//! | [`path_mtus`] | what fits on the way to a peer |
//! | `nic_classes` | whether a NIC can choose among DCB classes, and how it is told |
//! | `class_queues` | the transmit queues of an uplink whose NIC does |
//! | [`pull`], `learn` | records that come when they are asked for |
//! | [`state`] | all of it together |
//! | [`report`], [`stats`] | what control answers |
//! | [`measure`] | what a measuring rig asks besides |
//! | [`observe`] | captures and traces |
//! | [`vf`] | virtual functions of SR-IOV NICs |
//! | [`iov`] | which vNICs have VFs, and the change of their paths |
//! | [`churn`] | mappings that move for the measuring rig |
//! | [`traffic`] | what the measuring rig's senders offer, what its sink has logged |
//! | [`handle`], [`daemon`] | the control thread and its door |

mod aims;
mod announce;
pub mod balance;
pub mod balancing;
pub mod churn;
mod class_queues;
pub mod config;
pub mod crew;
pub mod daemon;
pub mod groups;
pub mod halt;
pub mod handle;
pub mod iov;
pub mod last_good;
mod learn;
pub mod links;
pub mod measure;
mod memif;
pub mod moves;
pub mod neighbors;
mod nic_classes;
pub mod observe;
pub mod offloads;
mod ownership;
mod packet_socket;
pub mod path_mtus;
pub mod patience;
pub mod plan;
pub mod policy;
pub mod ports;
pub mod pull;
pub mod report;
pub mod rest;
pub mod settling;
pub mod sharing;
pub mod state;
pub mod stats;
pub mod store;
pub mod tables;
pub mod top;
pub mod traffic;
pub mod transaction;
pub mod underlay;
pub mod vf;
