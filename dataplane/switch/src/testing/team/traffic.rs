//! What comes to a team's devices: arbitrary frames, and some again and again, whose order is followed.

use super::{ASKED, Team};
use crate::testing::VecFrame;
use crate::testing::dice::Dice;
use std::collections::HashMap;
use weir_tables::ids::{PortId, VnicId};

/// So often a frame is tried, and then another one if it never comes to anybody.
const TRIES: u32 = 12;

/// A frame that is sent again and again.
pub(super) struct Flow {
    /// Among all there were.
    id: usize,
    port: PortId,
    frame: VecFrame,
    sent: u32,
    comes: bool,
}

/// What a frame's number says.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    flow: Option<usize>,
    /// The vNIC that it came from.
    pub(super) sender: Option<VnicId>,
}

/// What came.
#[derive(Default)]
pub(super) struct Traffic {
    /// Frames that are sent again and again, each by its port.
    flows: Vec<Flow>,
    /// How many there were.
    all_flows: usize,
    /// By flow and receiver the number of the last one that came.
    came: HashMap<(usize, PortId, Option<VnicId>), u32>,
    /// By a frame's number.
    origins: Vec<Origin>,
}

impl Traffic {
    /// Frames that are kept to be sent again.
    pub(super) fn kept(&self) -> usize {
        self.flows.len()
    }

    /// Where a frame came from; the switch's own from nowhere.
    pub(super) fn origin(&self, frame: &VecFrame) -> Option<Origin> {
        let number = frame.number & !ASKED;
        self.origins.get((number as usize).checked_sub(1)?).copied()
    }

    /// One that comes again and again has come out: behind those that were sent before it.
    pub(super) fn comes_out(&mut self, port: PortId, to: Option<VnicId>, frame: &VecFrame) {
        let Some(flow) = self.origin(frame).and_then(|origin| origin.flow) else {
            return;
        };
        let number = frame.number & !ASKED;
        let last = self.came.entry((flow, port, to)).or_default();
        assert!(*last <= number, "overtaken");
        *last = number;
        if let Some(flow) = self.flows.iter_mut().find(|own| own.id == flow) {
            flow.comes = true;
        }
    }
}

impl Team {
    /// One more that comes again and again.
    pub(super) fn follow(&mut self, dice: &mut impl Dice) {
        let flow = self.flow(dice);
        self.traffic.flows.extend(flow);
    }

    fn flow(&mut self, dice: &mut impl Dice) -> Option<Flow> {
        let (port, frames) = self.chaos.frames(dice);
        let frame = frames.into_iter().next()?;
        self.traffic.all_flows += 1;
        Some(Flow {
            id: self.traffic.all_flows,
            port,
            frame,
            sent: 0,
            comes: false,
        })
    }

    /// Frames come to a device: arbitrary ones, or one of those that come again and again.
    pub(super) fn come(&mut self, dice: &mut impl Dice) {
        let (port, frames) = self.chaos.frames(dice);
        for frame in frames {
            self.arrive(port, None, frame);
        }
        if self.traffic.flows.is_empty() {
            return;
        }
        let place = dice.below(self.traffic.flows.len());
        if self.traffic.flows[place].sent > TRIES
            && !self.traffic.flows[place].comes
            && let Some(flow) = self.flow(dice)
        {
            self.traffic.flows[place] = flow;
        }
        for _ in 0..1 + dice.below(4) {
            let flow = &mut self.traffic.flows[place];
            flow.sent += 1;
            let (port, id, frame) = (flow.port, flow.id, flow.frame.duplicate());
            self.arrive(port, Some(id), frame);
        }
    }

    fn arrive(&mut self, port: PortId, flow: Option<usize>, mut frame: VecFrame) {
        // Nobody is behind it any more.
        if self.chaos.world.view.port(port).is_none() {
            return;
        }
        let bytes = frame.bytes();
        // It is of whoever is there now.
        frame.mark = self.chaos.mark(port, &bytes, frame.vlan);
        let sender = self.chaos.sender(port, &bytes, frame.vlan);
        let sender = sender.map(|vnic| vnic.id);
        self.traffic.origins.push(Origin { flow, sender });
        frame.number = self.traffic.origins.len() as u32;
        self.devices[port.index()].push_back(frame);
    }
}
