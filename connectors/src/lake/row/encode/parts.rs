//! The parts of what is written: fields of a struct, elements of a list.

use super::{Encoder, NULL};
use crate::lake::row::misfit::Misfit;
use crate::lake::row::read::ABSENT;
use distributary_runtime::table::{Column, ColumnType};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeTuple, SerializeTupleStruct};
use std::collections::BTreeMap;

/// The fields of a struct. They mostly come in the order of the columns, and are written where they come.
pub(super) struct Fields<'a> {
    to: &'a mut Vec<u8>,
    columns: &'a [Column],
    /// The first column that is not written.
    next: usize,
    /// Fields that have come before their turn.
    early: BTreeMap<usize, Vec<u8>>,
    /// The column that the key of a map names.
    named: Option<usize>,
}

impl<'a> Fields<'a> {
    #[inline]
    pub(super) fn new(to: &'a mut Vec<u8>, columns: &'a [Column]) -> Self {
        Self { to, columns, next: 0, early: BTreeMap::new(), named: None }
    }

    #[inline]
    fn place(&self, name: &str) -> Option<usize> {
        let is_next = self.columns.get(self.next).is_some_and(|column| column.name == name);
        if is_next { Some(self.next) } else { self.columns.iter().position(|column| column.name == name) }
    }

    fn put<T: Serialize + ?Sized>(&mut self, place: Option<usize>, value: &T) -> Result<(), Misfit> {
        let column = place.and_then(|place| Some((place, self.columns.get(place)?)));
        let (place, column) = column.ok_or_else(Misfit::unknown)?;
        let began = self.to.len();
        value.serialize(Encoder::of_column(self.to, column)).map_err(|misfit| misfit.within(&column.name))?;
        if place == self.next {
            self.next += 1;
            return Ok(());
        }
        let bytes = self.to.split_off(began);
        if place < self.next || self.early.insert(place, bytes).is_some() {
            return Err(Misfit::of("stands twice").within(&column.name));
        }
        Ok(())
    }

    /// What has not come is null.
    #[inline]
    fn finish(mut self) -> Result<(), Misfit> {
        for (place, column) in self.columns.iter().enumerate().skip(self.next) {
            match self.early.remove(&place) {
                Some(bytes) => self.to.extend_from_slice(&bytes),
                None if column.nullable => self.to.push(ABSENT),
                None => return Err(Misfit::of(NULL).within(&column.name)),
            }
        }
        Ok(())
    }
}

impl SerializeStruct for Fields<'_> {
    type Ok = ();
    type Error = Misfit;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Misfit> {
        let place = self.place(name);
        self.put(place, value)
    }

    fn skip_field(&mut self, name: &'static str) -> Result<(), Misfit> {
        match self.place(name) {
            Some(place) => self.put(Some(place), &()),
            None => Ok(()),
        }
    }

    fn end(self) -> Result<(), Misfit> {
        self.finish()
    }
}

impl SerializeMap for Fields<'_> {
    type Ok = ();
    type Error = Misfit;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Misfit> {
        let key = serde_json::to_value(key).ok();
        self.named = key.as_ref().and_then(serde_json::Value::as_str).and_then(|name| self.place(name));
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Misfit> {
        let place = self.named.take();
        self.put(place, value)
    }

    fn end(self) -> Result<(), Misfit> {
        self.finish()
    }
}

/// The elements of a list, behind their count.
pub(super) struct Elements<'a> {
    to: &'a mut Vec<u8>,
    element: &'a ColumnType,
    nullable: bool,
    count_at: usize,
    count: u32,
}

impl<'a> Elements<'a> {
    pub(super) fn new(to: &'a mut Vec<u8>, element: &'a ColumnType, nullable: bool) -> Self {
        let count_at = to.len();
        to.extend(0_u32.to_le_bytes());
        Self { to, element, nullable, count_at, count: 0 }
    }

    fn put<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Misfit> {
        let null = if self.nullable { Ok(()) } else { Err("is null") };
        value.serialize(Encoder::new(self.to, self.element, null)).map_err(|misfit| misfit.within("[]"))?;
        self.count = self.count.checked_add(1).ok_or_else(|| Misfit::of("has more than 4 billion elements"))?;
        Ok(())
    }

    fn finish(self) {
        self.to[self.count_at..][..size_of::<u32>()].copy_from_slice(&self.count.to_le_bytes());
    }
}

impl SerializeSeq for Elements<'_> {
    type Ok = ();
    type Error = Misfit;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Misfit> {
        self.put(value)
    }

    fn end(self) -> Result<(), Misfit> {
        self.finish();
        Ok(())
    }
}

/// The parts of a tuple: the fields of a struct by their places, or the elements of a list.
pub(super) enum Parts<'a> {
    Fields(Fields<'a>),
    Elements(Elements<'a>),
}

impl SerializeTuple for Parts<'_> {
    type Ok = ();
    type Error = Misfit;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Misfit> {
        match self {
            Self::Fields(fields) => fields.put(Some(fields.next), value),
            Self::Elements(elements) => elements.put(value),
        }
    }

    fn end(self) -> Result<(), Misfit> {
        match self {
            Self::Fields(fields) => fields.finish(),
            Self::Elements(elements) => {
                elements.finish();
                Ok(())
            }
        }
    }
}

impl SerializeTupleStruct for Parts<'_> {
    type Ok = ();
    type Error = Misfit;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Misfit> {
        SerializeTuple::serialize_element(self, value)
    }

    fn end(self) -> Result<(), Misfit> {
        SerializeTuple::end(self)
    }
}
