//! `weir top`: what vNICs and workers do now, on a screen that moves, or once.
//!
//! The way of a figure: the daemon answers what has changed ([`weir_agent::top`]) → [`board`] makes rates of two answers →
//! [`screen`] sorts, filters and scrolls → [`draw`] puts the rows that are seen on the terminal, which [`live`] holds.
//! Where nobody looks (a pipe, `-o json`, `TERM=dumb`) it is one sample of one interval.

pub mod board;
pub mod column;
pub mod draw;
pub mod live;
pub mod screen;

use crate::cli::top::TopArgs;
use crate::client::{Client, parse};
use crate::failure::Failure;
use crate::locate;
use crate::output::Out;
use crate::table::Table;
use board::Board;
use column::{Column, WORKER_HEADS, worker_cells};
use screen::Screen;
use std::time::Duration;
use weir_agent::top::Top;

/// `weir top`.
pub fn run(args: TopArgs) -> Result<(), Failure> {
    let client = locate::client(args.daemon.socket.as_deref(), args.daemon.host.as_deref())?;
    let out = Out::stdout(args.form.json());
    let interval = Duration::from_secs_f64(args.interval);
    let screen = Screen::new(args.sort, args.filter.unwrap_or_default());
    if out.is_terminal() && !out.is_json() && !is_dumb() {
        drop(out);
        return live::run(client, interval, screen);
    }
    once(&client, interval, screen, out)
}

/// Whether the terminal can do nothing but print.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

/// What has changed since the answer of that mark.
fn ask(client: &Client, since: Option<u64>) -> Result<Top, Failure> {
    let path = match since {
        Some(mark) => format!("top?since={mark}"),
        None => "top".into(),
    };
    parse(&client.get(&path)?)
}

/// One sample: two answers, an interval apart.
fn once(
    client: &Client,
    interval: Duration,
    mut screen: Screen,
    mut out: Out,
) -> Result<(), Failure> {
    let mut board = Board::default();
    board.take(ask(client, None)?);
    std::thread::sleep(interval);
    board.take(ask(client, board.mark())?);
    screen.arrange(&board);
    board.vnics = screen.rows(&board).cloned().collect();
    match out.is_json() {
        true => out.json(&board)?,
        false => out.text(&text(&board))?,
    }
    Ok(())
}

/// A sample as aligned columns.
fn text(board: &Board) -> String {
    let heads = WORKER_HEADS.map(|(head, _)| format!("#{head}"));
    let mut workers = Table::new(heads.iter().map(String::as_str));
    for worker in &board.workers {
        workers.row(worker_cells(worker));
    }
    let heads = Column::ALL.map(|column| match column.is_text() {
        true => column.head().to_string(),
        false => format!("#{}", column.head()),
    });
    let mut vnics = Table::new(heads.iter().map(String::as_str));
    for vnic in &board.vnics {
        vnics.row(Column::ALL.map(|column| column.cell(vnic)));
    }
    format!("{}\n{}", workers.render(false), vnics.render(false))
}
