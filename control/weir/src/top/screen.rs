//! What the screen shows of the board: which vNICs in which order, from which on. A plain value; keys come as arguments.

use super::board::{Board, VnicLine};
use super::column::Column;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// The longest filter that is typed.
const FILTER: usize = 64;

/// What a key asks of who holds the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To draw again.
    Draw,
    /// To draw all of it again: the terminal shows something else than it was told.
    Repaint,
    /// Nothing.
    Nothing,
    /// To end.
    End,
}

/// The state of the screen.
#[derive(Clone, Debug)]
pub struct Screen {
    /// What it is sorted by.
    pub sort: Column,
    /// Whether the least is first.
    pub ascending: bool,
    /// What a vNIC's or its tenant's name must hold to be shown; letters of either case.
    pub filter: String,
    /// Whether the filter is being typed.
    pub editing: bool,
    /// Whether workers are shown, where there is room.
    pub workers: bool,
    /// Whether it stands still.
    pub paused: bool,
    /// The first row that is shown, of those in `order`.
    pub first: usize,
    /// Places of the board's vNICs.
    order: Vec<usize>,
    /// How many rows there was room for when it was drawn last.
    page: usize,
    /// The columns that there was room for.
    columns: Vec<Column>,
}

impl Screen {
    /// Sorted by that column, the most first (names from a on); of vNICs that the filter takes.
    pub fn new(sort: Column, filter: String) -> Screen {
        Screen {
            sort,
            ascending: sort.is_text(),
            filter,
            editing: false,
            workers: true,
            paused: false,
            first: 0,
            order: Vec::new(),
            page: 1,
            columns: Column::ALL.to_vec(),
        }
    }

    /// Works out anew which vNICs are shown, after an answer or another wish. Equals stay in the order of their names.
    pub fn arrange(&mut self, board: &Board) {
        let wanted = self.filter.to_lowercase();
        let holds = |name: &str| name.to_lowercase().contains(&wanted);
        let places = board.vnics.iter().enumerate();
        let places = places.filter(|(_, line)| holds(&line.vnic) || holds(&line.tenant));
        self.order = places.map(|(place, _)| place).collect();
        let (sort, ascending) = (self.sort, self.ascending);
        self.order.sort_by(|&one, &other| {
            let (Some(one), Some(other)) = (board.vnics.get(one), board.vnics.get(other)) else {
                return std::cmp::Ordering::Equal;
            };
            match ascending {
                true => sort.compare(one, other),
                false => sort.compare(other, one),
            }
        });
        self.bound();
    }

    /// The vNICs that are shown, in order; all, not only those there is room for.
    pub fn rows<'a>(&'a self, board: &'a Board) -> impl Iterator<Item = &'a VnicLine> {
        self.order
            .iter()
            .filter_map(|&place| board.vnics.get(place))
    }

    /// How many those are.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether those are none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Notes what there is room for: rows of vNICs, and columns.
    pub fn fits(&mut self, page: usize, columns: Vec<Column>) {
        self.page = page.max(1);
        self.columns = columns;
        self.bound();
    }

    /// Obeys a key. Escape and a key close behind it, as a network or a busy host brings them, are read as one with Alt: both are obeyed.
    pub fn key(&mut self, key: KeyEvent, board: &Board) -> Wish {
        if key.modifiers.contains(KeyModifiers::ALT) {
            self.key(KeyCode::Esc.into(), board);
            let modifiers = key.modifiers.difference(KeyModifiers::ALT);
            return match self.key(KeyEvent::new(key.code, modifiers), board) {
                Wish::Nothing => Wish::Draw,
                wish => wish,
            };
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && key.code == KeyCode::Char('c') {
            return Wish::End;
        }
        if control && key.code == KeyCode::Char('l') {
            return Wish::Repaint;
        }
        if self.editing {
            return self.edit(key.code, control, board);
        }
        match key.code {
            KeyCode::Char('q') => return Wish::End,
            KeyCode::Char('/') => self.editing = true,
            KeyCode::Esc => self.set_filter(String::new(), board),
            KeyCode::Up | KeyCode::Char('k') => self.scroll(-1),
            KeyCode::Down | KeyCode::Char('j') => self.scroll(1),
            KeyCode::PageUp | KeyCode::Char('b') => self.scroll(-(self.page as isize)),
            KeyCode::PageDown | KeyCode::Char(' ' | 'f') => self.scroll(self.page as isize),
            KeyCode::Home | KeyCode::Char('g') => self.first = 0,
            KeyCode::End | KeyCode::Char('G') => self.scroll(isize::MAX),
            KeyCode::Left | KeyCode::Char('<' | ',') => self.sort_beside(-1, board),
            KeyCode::Right | KeyCode::Char('>' | '.') => self.sort_beside(1, board),
            KeyCode::Char('r') => {
                self.ascending = !self.ascending;
                self.arrange(board);
            }
            KeyCode::Char('w') => self.workers = !self.workers,
            KeyCode::Char('p') => self.paused = !self.paused,
            _ => return Wish::Nothing,
        }
        Wish::Draw
    }

    /// A key while the filter is typed.
    fn edit(&mut self, key: KeyCode, control: bool, board: &Board) -> Wish {
        let mut filter = self.filter.clone();
        match key {
            KeyCode::Enter => self.editing = false,
            KeyCode::Esc => {
                self.editing = false;
                filter.clear();
            }
            KeyCode::Backspace => drop(filter.pop()),
            KeyCode::Char('u') if control => filter.clear(),
            KeyCode::Char(letter) if !control && filter.chars().count() < FILTER => {
                filter.push(letter);
            }
            _ => return Wish::Nothing,
        }
        self.set_filter(filter, board);
        Wish::Draw
    }

    fn set_filter(&mut self, filter: String, board: &Board) {
        if filter != self.filter {
            self.filter = filter;
            self.first = 0;
            self.arrange(board);
        }
    }

    fn scroll(&mut self, rows: isize) {
        self.first = self.first.saturating_add_signed(rows);
        self.bound();
    }

    /// Sorts by the column so many to the right of those that are shown.
    fn sort_beside(&mut self, step: isize, board: &Board) {
        let place = self.columns.iter().position(|&own| own == self.sort);
        let place = place.unwrap_or(0).saturating_add_signed(step);
        if let Some(&column) = self.columns.get(place) {
            self.sort = column;
            self.ascending = column.is_text();
            self.arrange(board);
        }
    }

    /// Leaves no room below the last row while there are rows above the first.
    fn bound(&mut self) {
        self.first = self.first.min(self.order.len().saturating_sub(self.page));
    }
}
