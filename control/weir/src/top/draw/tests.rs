//! The picture for boards, sizes and keys, without a terminal.

use super::*;
use crate::top::screen::Wish;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use weir_agent::stats::{UplinkStats, WorkerStats};
use weir_agent::top::{Reading, Top, TopVnic, TopWorker};

/// An answer: `sent` bytes of each vNIC so far, by row.
fn answer(mark: u64, whole: bool, names: &[(&str, &str)], sent: &[(u32, u64)]) -> Top {
    let worker = |core| TopWorker {
        stats: WorkerStats {
            core,
            rx_packets: mark * 2_000_000,
            tx_packets: mark * 1_000_000,
            dropped: mark * 12,
            queued: 3,
            busy_cycles: mark * 600_000_000,
            idle_cycles: mark * 200_000_000,
            steered_out: mark * 1000,
            ..WorkerStats::default()
        },
        queues: 2,
        moved_in: 3,
        moved_out: 2,
    };
    Top {
        host: "h1".into(),
        mark,
        nanoseconds: mark * 1_000_000_000,
        whole,
        workers: vec![worker(1), worker(2)],
        uplinks: vec![UplinkStats {
            uplink: "up0".into(),
            link_up: true,
            link_mbit: 10_000,
            tx_bytes: mark * 125_000_000,
            ..UplinkStats::default()
        }],
        capacities: vec![10_000_000_000],
        vnics: names
            .iter()
            .map(|(vnic, tenant)| TopVnic {
                vnic: (*vnic).into(),
                tenant: (*tenant).into(),
                max_bits_per_second: Some(1_000_000_000),
                min_weight: Some(30),
                ..TopVnic::default()
            })
            .collect(),
        readings: sent
            .iter()
            .map(|&(row, bytes)| Reading {
                row,
                worker: 1 + row % 2,
                sent_packets: bytes / 1000,
                sent_bytes: bytes,
                dropped: u64::from(row) * mark,
                queued: (row == 0).then_some(7),
                ..Reading::default()
            })
            .collect(),
    }
}

const NAMES: [(&str, &str); 4] = [
    ("blue1", "blue"),
    ("blue2", "blue"),
    ("red1", "red"),
    ("red2", "red"),
];

fn board() -> Board {
    let mut board = Board::default();
    board.take(answer(1, true, &NAMES, &[(0, 1_000), (1, 5_000), (2, 0)]));
    board.take(answer(2, false, &[], &[(0, 125_001_000), (2, 250_000_000)]));
    board
}

fn picture(screen: &mut Screen, board: &Board, width: u16, height: u16) -> Vec<String> {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    draw(screen, board, area, &mut buffer);
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect();
    let lines = (0..height).map(line);
    lines
        .map(|line: String| line.trim_end().to_string())
        .collect()
}

fn screen(board: &Board) -> Screen {
    let mut screen = Screen::new(Column::Sent, String::new());
    screen.arrange(board);
    screen
}

fn press(screen: &mut Screen, board: &Board, code: KeyCode) -> Wish {
    screen.key(KeyEvent::new(code, KeyModifiers::NONE), board)
}

fn vnics(lines: &[String]) -> Vec<String> {
    let names = lines.iter().filter_map(|line| line.split(' ').next());
    names
        .filter(|name| name.starts_with("blue") || name.starts_with("red"))
        .map(str::to_string)
        .collect()
}

#[test]
fn a_screen_of_eighty_columns() {
    let board = board();
    assert_eq!(
        picture(&mut screen(&board), &board, 80, 12),
        [
            "weir h1  4 vNICs  up0 10.0G out 1.00G in 0",
            "core busy% cyc/pkt   in/s  out/s drop/s steer/s hand/s queued queues vnics moves",
            "   1  75.0     300  2.00M  1.00M     12   1.00k      0      3      2     2     5",
            "   2  75.0     300  2.00M  1.00M     12   1.00k      0      3      2     1     5",
            "vnic                 tenant        min    max  sentv   recv drop/s queued  link%",
            "red1                 red           w30  1.00G  2.00G      0      2      -   20.0",
            "blue1                blue          w30  1.00G  1.00G      0      0      7   10.0",
            "blue2                blue          w30  1.00G      0      0      0      -    0.0",
            "red2                 red           w30  1.00G      0      0      0      -    0.0",
            "",
            "",
            "1/4  q quit  / filter  < > sort  r reverse  w workers  p pause",
        ]
    );
}

#[test]
fn a_wide_one_has_all_columns_and_a_small_one_the_dearest() {
    let board = board();
    let wide = picture(&mut screen(&board), &board, 160, 12);
    assert_eq!(
        wide[4],
        "vnic                                     tenant     core    min    max  sentv   sent p   recv   recv p drop/s queued  link%"
    );
    let small = picture(&mut screen(&board), &board, 27, 5);
    assert_eq!(
        small,
        [
            "weir h1  4 vNICs  up0 10.0G",
            "vnic           sentv   recv",
            "red1           2.00G      0",
            "blue1          1.00G      0",
            "1/4  q quit  / filter  < >",
        ]
    );
    // Whatever the size, nothing panics and what there is room for is drawn.
    for width in 0..90 {
        for height in 0..14 {
            picture(&mut screen(&board), &board, width, height);
        }
    }
    assert_eq!(picture(&mut screen(&board), &board, 12, 1), ["red1"]);
    assert_eq!(picture(&mut screen(&board), &board, 5, 1), ["red1"]);
}

#[test]
fn keys_sort_reverse_and_scroll() {
    let board = board();
    let mut screen = screen(&board);
    let mut after = |keys: &[KeyCode]| {
        for &key in keys {
            assert_eq!(press(&mut screen, &board, key), Wish::Draw, "{key:?}");
        }
        let lines = picture(&mut screen, &board, 80, 5);
        vnics(&lines)
    };
    assert_eq!(after(&[]), ["red1", "blue1"]);
    assert_eq!(after(&[KeyCode::Down]), ["blue1", "blue2"]);
    assert_eq!(after(&[KeyCode::PageDown]), ["blue2", "red2"]);
    assert_eq!(after(&[KeyCode::Down]), ["blue2", "red2"], "the end");
    assert_eq!(after(&[KeyCode::Up]), ["blue1", "blue2"]);
    assert_eq!(after(&[KeyCode::End]), ["blue2", "red2"]);
    assert_eq!(after(&[KeyCode::Home]), ["red1", "blue1"]);
    // Least first; equals stay by name.
    assert_eq!(after(&[KeyCode::Char('r')]), ["blue2", "red2"]);
    // To the left of what it sends are its limits, and its tenant; names begin with a.
    let left = [KeyCode::Left, KeyCode::Left, KeyCode::Left];
    assert_eq!(after(&left), ["blue1", "blue2"]);
    assert_eq!(after(&[KeyCode::Char('r')]), ["red1", "red2"]);
    assert_eq!(screen.sort, Column::Tenant);
    for _ in 0..20 {
        press(&mut screen, &board, KeyCode::Right);
    }
    assert_eq!(screen.sort, Column::Share);
    assert_eq!(press(&mut screen, &board, KeyCode::Char('q')), Wish::End);
    assert_eq!(
        press(&mut screen, &board, KeyCode::Char('x')),
        Wish::Nothing
    );
}

#[test]
fn a_filter_takes_names_and_tenants_as_they_are_typed() {
    let board = board();
    let mut screen = screen(&board);
    let mut after = |keys: &[KeyCode]| {
        for &key in keys {
            press(&mut screen, &board, key);
        }
        let lines = picture(&mut screen, &board, 80, 12);
        (vnics(&lines).join(" "), lines[0].clone(), lines[11].clone())
    };
    let (names, head, last) = after(&[KeyCode::Char('/'), KeyCode::Char('R')]);
    assert_eq!(names, "red1 red2");
    assert_eq!(head, "weir h1  2 of 4 vNICs  up0 10.0G out 1.00G in 0");
    assert_eq!(last, "filter: R_  (Enter: keep, Esc: none)");
    // What means something elsewhere is a letter here.
    let (names, _, last) = after(&[KeyCode::Char('q'), KeyCode::Backspace, KeyCode::Enter]);
    assert_eq!(names, "red1 red2");
    assert!(last.starts_with("filter: R  1/2  q quit"), "{last}");
    let (names, ..) = after(&[KeyCode::Esc]);
    assert_eq!(names, "red1 blue1 blue2 red2");
    let control = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    press(&mut screen, &board, KeyCode::Char('/'));
    assert_eq!(screen.key(control, &board), Wish::End);
    // Escape and a letter that came together.
    let both = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::ALT);
    assert_eq!(screen.key(both, &board), Wish::End);
}

#[test]
fn workers_take_a_third_at_most_and_go_by_a_key() {
    let mut top = answer(1, true, &NAMES, &[]);
    let one = top.workers.remove(0);
    top.workers = (0..16)
        .map(|core| TopWorker {
            stats: WorkerStats {
                core,
                ..one.stats.clone()
            },
            ..one.clone()
        })
        .collect();
    let mut board = Board::default();
    board.take(top);
    let mut screen = screen(&board);
    let lines = picture(&mut screen, &board, 80, 16);
    assert_eq!(lines[5], "and 13 workers more");
    assert!(lines[6].starts_with("vnic "), "{lines:?}");
    // Rates are not known after one answer.
    assert_eq!(
        lines[2],
        "   0     -       -      -      -      -       -      -      3      2     4     5"
    );
    assert!(lines[15].starts_with("measuring  1/4"), "{lines:?}");
    press(&mut screen, &board, KeyCode::Char('w'));
    assert!(picture(&mut screen, &board, 80, 16)[1].starts_with("vnic "));
}

#[test]
fn a_policy_that_changes_keeps_what_is_known_by_name() {
    let mut board = board();
    // A vNIC comes before the others, one goes; rows have other numbers now.
    let names = [("amber", "a"), ("blue1", "blue"), ("red1", "red")];
    let sent = [(0, 9_000), (1, 125_001_000 + 1_000_000), (2, 250_000_000)];
    board.take(answer(3, true, &names, &sent));
    let sent = |board: &Board| -> Vec<Option<u64>> {
        let lines = board.vnics.iter();
        lines.map(|line| line.sent_bits_per_second).collect()
    };
    assert_eq!(sent(&board), [None, Some(8_000_000), Some(0)]);
    // Who is not mentioned has not changed.
    board.take(answer(4, false, &[], &[(0, 10_000)]));
    assert_eq!(sent(&board), [Some(8_000), Some(0), Some(0)]);
    assert_eq!(board.vnics[0].link_percent, Some(0.0));
}

#[test]
fn ten_thousand_scroll() {
    let names: Vec<String> = (0..10_000).map(|n| format!("vnic{n:05}")).collect();
    let names: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "t")).collect();
    let sent: Vec<(u32, u64)> = (0..10_000).map(|row| (row, u64::from(row))).collect();
    let mut board = Board::default();
    board.take(answer(1, true, &names, &sent));
    board.take(answer(2, false, &[], &[(5, 1_000_000)]));
    let mut screen = screen(&board);
    let lines = picture(&mut screen, &board, 80, 24);
    assert!(lines[5].starts_with("vnic00005 "), "{lines:?}");
    assert!(lines[6].starts_with("vnic00000 "), "{lines:?}");
    press(&mut screen, &board, KeyCode::End);
    let lines = picture(&mut screen, &board, 80, 24);
    assert!(lines[22].starts_with("vnic09999 "), "{lines:?}");
    assert!(lines[23].starts_with("9983/10000  "), "{lines:?}");
    // A filter leaves one; the screen does not stay where nothing is.
    for letter in "/04321".chars() {
        press(&mut screen, &board, KeyCode::Char(letter));
    }
    let lines = picture(&mut screen, &board, 80, 24);
    assert!(lines[5].starts_with("vnic04321 "), "{lines:?}");
}
