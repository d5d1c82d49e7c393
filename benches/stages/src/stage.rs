//! The stages, each a function over a batch whose frames are as the stage before leaves them.

use crate::plain::{Plain, Sink};
use crate::scene::{Known, Scene};
use std::hint::black_box;
use weir_switch::door::Door;
use weir_switch::outlet::Outlet;
use weir_switch::testing::world::UPLINK;
use weir_switch::{
    BATCH, Batch, bridge, dispatch, encap, guard, outer, parse, receive, rewrite, route,
};
use weir_tables::peer::Peer;
use weir_tables::view::Party;
use weir_wire::{IpProtocol, Vsid};

/// What runs a stage: a batch, and what is known of each of its frames.
pub type Run = for<'a> fn(&Scene, &[Known], &mut Batch<Plain<'a>>, &mut Sink<'a>);

/// One stage.
pub struct Stage {
    /// Its name.
    pub name: &'static str,
    /// The scenes in which it means something.
    pub scenes: &'static [&'static str],
    /// Runs it.
    pub run: Run,
    /// Whether its frames go out of it, so that the sink's count can be checked.
    pub sends: bool,
}

const FROM_VNIC: &[&str] = &["nvgre-encap", "rewrite", "routed", "local", "l2", "drop"];
const ALL: &[&str] = &crate::scene::SCENES;

/// All of them, in the order in which a packet meets them.
pub const STAGES: [Stage; 12] = [
    Stage {
        name: "accept",
        scenes: &["nvgre-decap", "rewrite-in"],
        run: accept,
        sends: false,
    },
    Stage {
        name: "parse",
        scenes: FROM_VNIC,
        run: parse,
        sends: false,
    },
    Stage {
        name: "guard",
        scenes: FROM_VNIC,
        run: guard,
        sends: false,
    },
    Stage {
        name: "lookup",
        scenes: &["nvgre-encap", "nvgre-decap", "local", "l2"],
        run: lookup,
        sends: false,
    },
    Stage {
        name: "record",
        scenes: &["routed", "rewrite"],
        run: record,
        sends: false,
    },
    Stage {
        name: "route",
        scenes: &["routed"],
        run: route,
        sends: true,
    },
    Stage {
        name: "rewrite",
        scenes: &["rewrite"],
        run: rewrite,
        sends: true,
    },
    Stage {
        name: "restore",
        scenes: &["rewrite-in"],
        run: restore,
        sends: true,
    },
    Stage {
        name: "bridge",
        scenes: &["l2"],
        run: bridge,
        sends: true,
    },
    Stage {
        name: "encap",
        scenes: &["nvgre-encap"],
        run: encap,
        sends: false,
    },
    Stage {
        name: "dispatch",
        scenes: &["local"],
        run: dispatch,
        sends: true,
    },
    Stage {
        name: "whole",
        scenes: ALL,
        run: whole,
        sends: true,
    },
];

fn accept(scene: &Scene, _: &[Known], batch: &mut Batch<Plain<'_>>, _: &mut Sink<'_>) {
    let view = &scene.world.view;
    let port = view.port(scene.port).map(|port| port.party);
    let Some(Party::Uplink(uplink)) = port else {
        return;
    };
    if let Some(uplink) = view.uplink(uplink) {
        for frame in batch {
            let _ = black_box(outer::accept(view, uplink, frame));
        }
    }
}

fn parse(_: &Scene, _: &[Known], batch: &mut Batch<Plain<'_>>, _: &mut Sink<'_>) {
    for frame in batch {
        let _ = black_box(parse::ethernet(frame));
    }
}

fn guard(scene: &Scene, known: &[Known], batch: &mut Batch<Plain<'_>>, _: &mut Sink<'_>) {
    use weir_switch::Frame;
    let Some(vnic) = scene.world.view.vnic(scene.sender) else {
        return;
    };
    for (frame, known) in batch.iter().zip(known) {
        let admitted = guard::admit(&vnic.identity, &known.parsed, frame.head(), frame.len());
        let _ = black_box(admitted);
    }
}

fn lookup(scene: &Scene, known: &[Known], _: &mut Batch<Plain<'_>>, _: &mut Sink<'_>) {
    let (mut keys, mut targets) = ([0; BATCH], [[0]; BATCH]);
    for (key, known) in keys.iter_mut().zip(known) {
        *key = known.endpoint;
    }
    scene.world.view.endpoints.get_batch(&keys, &mut targets);
    black_box(targets);
}

fn record(scene: &Scene, known: &[Known], _: &mut Batch<Plain<'_>>, _: &mut Sink<'_>) {
    let (mut keys, mut records) = ([0; BATCH], [[0; 3]; BATCH]);
    for (key, known) in keys.iter_mut().zip(known) {
        *key = known.address;
    }
    scene.world.view.records.get_batch(&keys, &mut records);
    black_box(records);
}

/// By its door, if it is ready.
#[inline(always)]
fn leave<'a>(door: Option<Door>, frame: Plain<'a>, sink: &mut Sink<'a>) {
    if let Some(door) = door {
        sink.push_finished(None, door, frame);
    }
}

fn route<'a>(scene: &Scene, known: &[Known], batch: &mut Batch<Plain<'a>>, sink: &mut Sink<'a>) {
    let view = &scene.world.view;
    let Some(vnic) = view.vnic(scene.sender) else {
        return;
    };
    for (mut frame, known) in batch.drain(..).zip(known) {
        let flow = known.parsed.flow;
        let door = route::ordinary(view, vnic, flow, &known.record, &mut frame);
        leave(door, frame, sink);
    }
    sink.flush();
}

fn rewrite<'a>(scene: &Scene, known: &[Known], batch: &mut Batch<Plain<'a>>, sink: &mut Sink<'a>) {
    let view = &scene.world.view;
    let Some(vnic) = view.vnic(scene.sender) else {
        return;
    };
    for (mut frame, known) in batch.drain(..).zip(known) {
        let door = rewrite::ordinary(view, vnic, &known.record, &mut frame);
        leave(door, frame, sink);
    }
    sink.flush();
}

/// The way in, without acceptance.
fn restore<'a>(scene: &Scene, _: &[Known], batch: &mut Batch<Plain<'a>>, sink: &mut Sink<'a>) {
    let view = &scene.world.view;
    let ledger = sink.ledger.clone();
    let Some(uplink) = view.uplink(UPLINK) else {
        return;
    };
    let plain = rewrite::Plain {
        at: 14,
        total: 46,
        protocol: IpProtocol::UDP,
        is_v6: false,
    };
    let plains = batch.drain(..).map(|frame| (plain, frame)).collect();
    rewrite::from_wire(view, &ledger, uplink, plains, sink);
    sink.flush();
}

fn bridge<'a>(scene: &Scene, _: &[Known], batch: &mut Batch<Plain<'a>>, sink: &mut Sink<'a>) {
    let view = &scene.world.view;
    let ledger = sink.ledger.clone();
    let Some(vnic) = view.vnic(scene.sender) else {
        return;
    };
    for frame in batch.drain(..) {
        bridge::unknown(view, &ledger, vnic, frame, sink);
    }
    sink.flush();
}

fn encap(scene: &Scene, known: &[Known], batch: &mut Batch<Plain<'_>>, _: &mut Sink<'_>) {
    let view = &scene.world.view;
    let vsid = view.vnic(scene.sender).map_or(Vsid::NONE, |vnic| vnic.vsid);
    for (frame, known) in batch.iter_mut().zip(known) {
        let peer = view.peer(known.peer).unwrap_or(&Peer::NONE);
        let _ = black_box(encap::push(
            peer,
            encap::key(vsid, known.parsed.flow),
            frame,
        ));
    }
}

fn dispatch<'a>(scene: &Scene, known: &[Known], batch: &mut Batch<Plain<'a>>, sink: &mut Sink<'a>) {
    let ledger = sink.ledger.clone();
    for (frame, known) in batch.drain(..).zip(known) {
        dispatch::to_vnic(&scene.world.view, &ledger, None, known.to, frame, sink);
    }
    sink.flush();
}

/// Everything between a worker's receive and transmit queues.
fn whole<'a>(scene: &Scene, _: &[Known], batch: &mut Batch<Plain<'a>>, sink: &mut Sink<'a>) {
    let ledger = sink.ledger.clone();
    receive::receive(&scene.world.view, &ledger, scene.port, batch, sink);
    sink.flush();
}
