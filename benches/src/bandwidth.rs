//! Who got how much, when, and how far that is from what was promised.
//!
//! ```text
//! scene (who sends, what each is promised) → stand (a daemon on it: offer, log, read) → record (whose frame left when)
//!                                                                                     → judge, fluid (how far off is that)
//! ```
//!
//! The record is the rig's sink's, of every frame: any window of any length can be looked at, at any offset. What is judged
//! are plain functions of it.
//!
//! | file | subject |
//! |---|---|
//! | [`record`] | what left, by sender; the time in which the worker ran |
//! | [`judge`] | most and least in any window; when a rate is had |
//! | [`fluid`] | the exact shares that an ideal link would give |
//! | [`lost`] | what the core loses by itself |
//! | [`scene`] | host.toml, policy.toml and offers of many vNICs behind one trunk |
//! | [`stand`] | a daemon on it |
//! | [`plot`] | rates over time while neighbours start and stop |

pub mod fluid;
pub mod judge;
pub mod lost;
pub mod plot;
pub mod record;
pub mod scene;
pub mod stand;
