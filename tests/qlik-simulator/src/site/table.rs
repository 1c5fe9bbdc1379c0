//! Objects in the order of their arrival, findable by identifier.

use std::collections::HashMap;

/// What a table can hold.
pub(crate) trait Identified {
    fn id(&self) -> &str;
}

pub(crate) struct Table<T> {
    rows: Vec<T>,
    /// Positions in `rows` by identifier in lower case.
    positions: HashMap<String, usize>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), positions: HashMap::new() }
    }
}

impl<T: Identified> Table<T> {
    pub(crate) fn insert(&mut self, row: T) {
        let key = row.id().to_ascii_lowercase();
        if let Some(position) = self.positions.get(&key) {
            self.rows[*position] = row;
        } else {
            self.positions.insert(key, self.rows.len());
            self.rows.push(row);
        }
    }

    pub(crate) fn get(&self, id: &str) -> Option<&T> {
        self.position(id).map(|position| &self.rows[position])
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut T> {
        self.position(id).map(|position| &mut self.rows[position])
    }

    pub(crate) fn remove(&mut self, id: &str) -> bool {
        let Some(position) = self.position(id) else { return false };
        self.rows.remove(position);
        self.positions = self.rows.iter().enumerate().map(|(at, row)| (row.id().to_ascii_lowercase(), at)).collect();
        true
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.rows.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.rows.iter_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    fn position(&self, id: &str) -> Option<usize> {
        match self.positions.get(id) {
            Some(position) => Some(*position),
            None if id.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                self.positions.get(&id.to_ascii_lowercase()).copied()
            }
            None => None,
        }
    }
}
