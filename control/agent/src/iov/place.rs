//! Who gets which VF: a function of who asks, what there is and who has what. No machine, no time.
//!
//! - Whom policy bars gets none, whatever is free.
//! - A pinned VF is for who pins it, also while that one may not have it: then it is nobody's.
//! - The others get the rest by weight. Of equals who has one goes before who has none, then names decide.
//! - Who still gets one keeps the one it has.
//!
//! There is no hysteresis besides: a greater weight takes a VF away at once.

use std::collections::{BTreeMap, BTreeSet};

use super::why::Why;
use crate::config::fields::Name;

/// A VF: its PF's address, and its index there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VfId {
    /// The PF's PCI address.
    pub pf: Name,
    /// The VF's index.
    pub index: u16,
}

impl std::fmt::Display for VfId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.pf, self.index)
    }
}

/// What a vNIC asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    /// Nothing, or nothing that it may have.
    Barred(Why),
    /// Any VF, with this weight.
    Any(u8),
    /// This one.
    This(VfId),
}

/// One vNIC.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// Its name; no other ask has it.
    pub vnic: Name,
    /// What it may have.
    pub wish: Wish,
    /// The VF that is pinned, barred or not.
    pub pin: Option<VfId>,
}

/// One VF.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// Which.
    pub vf: VfId,
    /// Why it cannot be used, if it cannot.
    pub barred: Option<Why>,
}

/// For each who asks, a VF or why none.
pub type Placed = BTreeMap<Name, Result<VfId, Why>>;

/// Places all. `now` is who has which VF; `none` the reason where there is no VF at all.
pub fn place(asks: &[Ask], offers: &[Offer], now: &BTreeMap<Name, VfId>, none: &Why) -> Placed {
    let mut placed = Placed::new();
    let known: BTreeMap<&VfId, &Offer> = offers.iter().map(|offer| (&offer.vf, offer)).collect();
    let mut asks: Vec<&Ask> = asks.iter().collect();
    asks.sort_by(|a, b| a.vnic.cmp(&b.vnic));
    let mut pinned: BTreeMap<&VfId, &Name> = BTreeMap::new();
    for ask in &asks {
        if let Some(pin) = &ask.pin {
            pinned.entry(pin).or_insert(&ask.vnic);
        }
    }
    for ask in &asks {
        let result = match &ask.wish {
            Wish::Barred(why) => Err(why.clone()),
            Wish::This(vf) => match (pinned.get(vf), known.get(vf)) {
                (Some(by), _) if **by != ask.vnic => Err(Why::Pinned((*by).clone())),
                (_, None) if offers.is_empty() => Err(none.clone()),
                (_, None) => Err(Why::NoSuchVf(format!("there is no VF {vf}"))),
                (_, Some(offer)) => offer.barred.clone().map_or(Ok(vf.clone()), Err),
            },
            Wish::Any(_) => continue,
        };
        placed.insert(ask.vnic.clone(), result);
    }
    let mut left: BTreeSet<&VfId> = offers
        .iter()
        .filter(|offer| offer.barred.is_none() && !pinned.contains_key(&offer.vf))
        .map(|offer| &offer.vf)
        .collect();
    let usable = left.len();
    let has = |ask: &Ask| now.get(&ask.vnic).filter(|vf| known.contains_key(vf));
    let mut rest: Vec<(u8, &Ask)> = asks
        .into_iter()
        .filter_map(|ask| match ask.wish {
            Wish::Any(weight) => Some((weight, ask)),
            Wish::Barred(_) | Wish::This(_) => None,
        })
        .collect();
    // Stable: names stay in order among equals.
    rest.sort_by_key(|(weight, ask)| {
        let keeps = has(ask).is_some_and(|vf| left.contains(vf));
        (std::cmp::Reverse(*weight), !keeps)
    });
    let (win, lose) = rest.split_at(rest.len().min(usable));
    let mut waiting = Vec::new();
    for (_, ask) in win {
        // Two may say that they have the same, after a start: the first has it.
        match has(ask).filter(|vf| left.remove(vf)) {
            Some(vf) => drop(placed.insert(ask.vnic.clone(), Ok(vf.clone()))),
            None => waiting.push(*ask),
        }
    }
    for (ask, vf) in waiting.into_iter().zip(left) {
        placed.insert(ask.vnic.clone(), Ok(vf.clone()));
    }
    let barred = offers.iter().find_map(|offer| {
        let free = !pinned.contains_key(&offer.vf);
        offer.barred.as_ref().filter(|_| free)
    });
    for (_, ask) in lose {
        let why = match (usable, barred) {
            _ if offers.is_empty() => none.clone(),
            (0, Some(why)) => why.clone(),
            _ => Why::NoneFree(usable),
        };
        placed.insert(ask.vnic.clone(), Err(why));
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vf(index: u16) -> VfId {
        VfId {
            pf: "p".into(),
            index,
        }
    }

    fn any(vnic: &str, weight: u8) -> Ask {
        Ask {
            vnic: vnic.into(),
            wish: Wish::Any(weight),
            pin: None,
        }
    }

    fn pin(vnic: &str, index: u16) -> Ask {
        Ask {
            vnic: vnic.into(),
            wish: Wish::This(vf(index)),
            pin: Some(vf(index)),
        }
    }

    fn offers(count: u16) -> Vec<Offer> {
        let offer = |index| Offer {
            vf: vf(index),
            barred: None,
        };
        (0..count).map(offer).collect()
    }

    fn has(who: &[(&str, u16)]) -> BTreeMap<Name, VfId> {
        who.iter()
            .map(|(name, index)| ((*name).into(), vf(*index)))
            .collect()
    }

    fn shown(placed: &Placed) -> String {
        let each = placed.iter().map(|(name, result)| match result {
            Ok(vf) => format!("{name}={}", vf.index),
            Err(why) => format!("{name}:{}", why.name()),
        });
        each.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_highest_weights_get_the_few_and_keep_them_among_equals() {
        let none = Why::NoVfs("p".into());
        let asks = [any("a", 10), any("b", 30), any("c", 20)];
        let at =
            |asks: &[Ask], now: &[(&str, u16)]| shown(&place(asks, &offers(2), &has(now), &none));
        assert_eq!(at(&asks, &[]), "a:none_free b=0 c=1");
        assert_eq!(at(&asks, &[("a", 0), ("c", 1)]), "a:none_free b=0 c=1");
        let equal = [any("a", 10), any("b", 10), any("c", 10)];
        assert_eq!(at(&equal, &[]), "a=0 b=1 c:none_free");
        assert_eq!(at(&equal, &[("c", 0), ("b", 1)]), "a:none_free b=1 c=0");
        let nothing = shown(&place(&equal, &[], &has(&[]), &none));
        assert_eq!(nothing, "a:no_vfs b:no_vfs c:no_vfs");
    }

    #[test]
    fn a_pin_is_for_one_and_stays_its_own_while_it_may_not_have_it() {
        let none = Why::NoVfs("p".into());
        let barred = Ask {
            wish: Wish::Barred(Why::Capture),
            ..pin("a", 0)
        };
        let asks = [barred, any("b", 1), any("c", 1)];
        let at = place(&asks, &offers(2), &has(&[]), &none);
        assert_eq!(shown(&at), "a:capture b=1 c:none_free");
        let asks = [pin("a", 0), pin("b", 0), pin("c", 7), any("d", 100)];
        let at = place(&asks, &offers(1), &has(&[("d", 0)]), &none);
        assert_eq!(shown(&at), "a=0 b:pinned c:no_such_vf d:none_free");
    }

    #[test]
    fn what_bars_every_vf_is_the_reason() {
        let none = Why::NoVfs("p".into());
        let mut all = offers(2);
        all[0].barred = Some(Why::NoIommu);
        let asks = [any("a", 1), any("b", 1), pin("c", 0)];
        assert_eq!(
            shown(&place(&asks, &all, &has(&[]), &none)),
            "a=1 b:none_free c:no_iommu"
        );
        all[1].barred = Some(Why::NoLink);
        assert_eq!(
            shown(&place(&asks, &all, &has(&[("a", 1)]), &none)),
            "a:no_link b:no_link c:no_iommu"
        );
    }

    prop_compose! {
        fn world()(
            asks in prop::collection::vec((0u8..4, 0u8..4, 0u16..7), 0..9),
            offers in prop::collection::vec(prop::bool::weighted(0.3), 0..7),
            now in prop::collection::vec((0usize..9, 0u16..7), 0..5),
        ) -> (Vec<Ask>, Vec<Offer>, BTreeMap<Name, VfId>) {
            let asks: Vec<Ask> = asks.into_iter().enumerate().map(|(n, (kind, weight, index))| {
                let name = format!("v{n}");
                match kind {
                    0 => pin(&name, index),
                    1 => Ask { wish: Wish::Barred(Why::Capture), pin: (weight == 0).then(|| vf(index)), vnic: name.into() },
                    _ => any(&name, weight + 1),
                }
            }).collect();
            let offers = offers.into_iter().enumerate().map(|(n, barred)| Offer {
                vf: vf(n as u16),
                barred: barred.then_some(Why::NoLink),
            }).collect();
            let now = now.into_iter().map(|(n, index)| (format!("v{n}").into(), vf(index))).collect();
            (asks, offers, now)
        }
    }

    proptest! {
        #[test]
        fn whatever_is_asked((asks, offers, now) in world()) {
            let none = Why::NoVfs("p".into());
            let placed = place(&asks, &offers, &now, &none);
            prop_assert_eq!(placed.len(), asks.len(), "each has an answer");
            let given: Vec<&VfId> = placed.values().filter_map(|it| it.as_ref().ok()).collect();
            let each: BTreeSet<&VfId> = given.iter().copied().collect();
            prop_assert_eq!(each.len(), given.len(), "a VF is one vNIC's");
            let usable = |vf: &VfId| offers.iter().any(|it| it.vf == *vf && it.barred.is_none());
            prop_assert!(given.iter().all(|vf| usable(vf)), "it is there and may be used");
            let pins: BTreeSet<&VfId> = asks.iter().filter_map(|ask| ask.pin.as_ref()).collect();
            let by = |name: &Name| asks.iter().find(|ask| ask.vnic == *name).unwrap();
            for (name, result) in &placed {
                match (&by(name).wish, result) {
                    (Wish::Barred(why), result) => prop_assert_eq!(result, &Err(why.clone())),
                    (Wish::This(pin), Ok(vf)) => prop_assert_eq!(pin, vf),
                    (Wish::Any(_), Ok(vf)) => prop_assert!(!pins.contains(vf), "what is pinned is not chosen"),
                    _ => {}
                }
            }
            // Work is not left undone, and never for a lower weight.
            let weight = |name: &Name| match by(name).wish { Wish::Any(weight) => Some(weight), _ => None };
            let losers = placed.iter().filter(|(_, it)| it.is_err()).filter_map(|(name, _)| weight(name));
            let winners = placed.iter().filter(|(_, it)| it.is_ok()).filter_map(|(name, _)| weight(name));
            let free = offers.iter().filter(|it| it.barred.is_none() && !pins.contains(&it.vf)).count();
            let (won, most) = (winners.clone().count(), losers.clone().max());
            prop_assert!(most.is_none() || won == free, "somebody waits, and a VF is free");
            prop_assert!(most.is_none_or(|most| winners.clone().all(|weight| weight >= most)));
            // Who is placed stays where it is.
            let held: BTreeMap<Name, VfId> = placed.iter()
                .filter_map(|(name, it)| Some((name.clone(), it.as_ref().ok()?.clone()))).collect();
            prop_assert_eq!(&place(&asks, &offers, &held, &none), &placed, "again the same");
            for (name, had) in &now {
                let twice = now.values().filter(|vf| *vf == had).count() > 1;
                if let Some(Ok(vf)) = placed.get(name)
                    && weight(name).is_some() && usable(had) && !pins.contains(had) && !twice {
                    prop_assert_eq!(vf, had, "who has one that it may keep does");
                }
            }
            let mut turned = asks;
            turned.reverse();
            prop_assert_eq!(&place(&turned, &offers, &now, &none), &placed, "the order of asks is nothing");
        }
    }
}
