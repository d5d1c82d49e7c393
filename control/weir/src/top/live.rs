//! The terminal while the screen is on it, and what happens meanwhile: keys, answers, signals, each from a thread of its own.

use super::ask;
use super::board::Board;
use super::draw::draw;
use super::screen::{Screen, Wish};
use crate::client::Client;
use crate::failure::Failure;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use std::io::{self, BufWriter, Stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use weir_agent::top::Top;

/// How long a signal waits for the terminal to take the last picture.
const LAST_PICTURE: Duration = Duration::from_secs(1);
/// How often a paused screen looks whether it goes on.
const PAUSE: Duration = Duration::from_millis(100);

/// Something that happens.
enum Happening {
    Key(KeyEvent),
    /// The terminal has another size.
    Resize,
    Answer(Result<Box<Top>, Failure>),
    /// A signal says so, or the terminal is gone.
    End,
}

/// Shows it until a key, a signal, a lost daemon or a lost terminal ends it; the terminal is then as it was.
pub fn run(client: Client, interval: Duration, mut screen: Screen) -> Result<(), Failure> {
    // The first answer before the screen: a daemon that is not there is said on the terminal as it is.
    let mut board = Board::default();
    board.take(ask(&client, None)?);
    screen.arrange(&board);
    let (tell, happenings) = channel();
    // Before the terminal is taken, or a signal in between would leave it as a screen.
    hear_signals(tell.clone()).map_err(|error| {
        let problem = format!("no signals: {error}");
        Failure::one("", problem, "weir top -o json needs none")
    })?;
    let mut held = Held::take().map_err(|error| {
        let problem = format!("cannot be made a screen: {error}");
        Failure::one("terminal", problem, "weir top -o json prints one sample")
    })?;
    let paused = Arc::new(AtomicBool::new(false));
    let (keys, mark, pauses) = (tell.clone(), board.mark(), paused.clone());
    std::thread::spawn(move || hear_keys(&keys));
    std::thread::spawn(move || ask_on(&client, interval, mark, &pauses, &tell));
    let result = follow(
        &mut held.terminal,
        &happenings,
        &mut board,
        &mut screen,
        &paused,
    );
    drop(held);
    result
}

fn follow(
    terminal: &mut Terminal<Backend>,
    happenings: &Receiver<Happening>,
    board: &mut Board,
    screen: &mut Screen,
    paused: &AtomicBool,
) -> Result<(), Failure> {
    loop {
        terminal.draw(|frame| draw(screen, board, frame.area(), frame.buffer_mut()))?;
        // What has happened by now is one picture.
        let mut wait = true;
        while wait {
            let Ok(first) = happenings.recv() else {
                return Ok(());
            };
            let mut next = Some(first);
            while let Some(happening) = next {
                match happening {
                    Happening::End => return Ok(()),
                    Happening::Answer(Err(failure)) => return Err(failure),
                    Happening::Answer(Ok(top)) => {
                        board.take(*top);
                        screen.arrange(board);
                        wait = false;
                    }
                    Happening::Resize => wait = false,
                    Happening::Key(key) => match screen.key(key, board) {
                        Wish::End => return Ok(()),
                        Wish::Draw => wait = false,
                        Wish::Repaint => {
                            terminal.clear()?;
                            wait = false;
                        }
                        Wish::Nothing => {}
                    },
                }
                next = happenings.try_recv().ok();
            }
            paused.store(screen.paused, Ordering::Relaxed);
        }
    }
}

/// Asks for what has changed, in steps of the interval; steps that were missed are not made up for.
fn ask_on(
    client: &Client,
    interval: Duration,
    mut mark: Option<u64>,
    paused: &AtomicBool,
    tell: &Sender<Happening>,
) {
    let mut next = Instant::now();
    loop {
        next = (next + interval).max(Instant::now());
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        while paused.load(Ordering::Relaxed) {
            std::thread::sleep(PAUSE);
        }
        let answer = ask(client, mark);
        mark = answer.as_ref().map_or(mark, |top| Some(top.mark));
        let last = answer.is_err();
        let told = tell.send(Happening::Answer(answer.map(Box::new)));
        if last || told.is_err() {
            return;
        }
    }
}

fn hear_keys(tell: &Sender<Happening>) {
    loop {
        let happening = match event::read() {
            Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => Happening::Key(key),
            Ok(Event::Resize(..)) => Happening::Resize,
            Ok(_) => continue,
            Err(_) => Happening::End,
        };
        let last = matches!(happening, Happening::End);
        if tell.send(happening).is_err() || last {
            return;
        }
    }
}

/// SIGTERM, SIGINT and SIGHUP end it, from here on.
fn hear_signals(tell: Sender<Happening>) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let caught = {
        let _within = runtime.enter();
        [
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        ]
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            let [mut one, mut two, mut three] = caught;
            tokio::select! {
                _ = one.recv() => {}
                _ = two.recv() => {}
                _ = three.recv() => {}
            }
            let _ = tell.send(Happening::End);
            tokio::time::sleep(LAST_PICTURE).await;
        });
        // Whoever draws waits for a terminal that takes nothing.
        let _ = disable_raw_mode();
        std::process::exit(1);
    });
    Ok(())
}

type Backend = CrosstermBackend<BufWriter<Stdout>>;

/// The terminal as a screen; as it was once this is dropped, or the program panics.
pub struct Held {
    terminal: Terminal<Backend>,
}

/// Whether there is something to be put back.
static HELD: AtomicBool = AtomicBool::new(false);

impl Held {
    /// Takes it. Fails if it is none, or cannot be used so; then nothing is changed.
    pub fn take() -> io::Result<Held> {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            put_back();
            hook(info);
        }));
        enable_raw_mode()?;
        HELD.store(true, Ordering::SeqCst);
        let made = execute!(io::stdout(), EnterAlternateScreen)
            .and_then(|()| Terminal::new(CrosstermBackend::new(BufWriter::new(io::stdout()))));
        match made {
            Ok(terminal) => Ok(Held { terminal }),
            Err(error) => {
                put_back();
                Err(error)
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        put_back();
    }
}

/// Whatever happens: what cannot be put back is at least tried.
fn put_back() {
    if HELD.swap(false, Ordering::SeqCst) {
        let _ = disable_raw_mode();
        let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
    }
}
