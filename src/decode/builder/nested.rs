//! Columns of columns: structs, lists and maps with text keys. Forgetting rows forgets what lies under them. Does not know a format.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, MapArray, StructArray};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{FieldRef, Fields};
use arrow::error::ArrowError;

use super::leaf::{Bytes, offset, renew_offsets};
use super::validity::Validity;
use super::{Column, mismatch};
use crate::decode::reject::{Code, Fault, Outcome, Shown};

/// How many keys are compared one by one before a set is built.
const KEYS_COMPARED: usize = 8;

/// A struct: its members' columns have one value for each of its rows, also where it is null.
#[derive(Debug)]
pub(crate) struct Struct {
    pub(crate) members: Vec<Column>,
    validity: Validity,
    len: usize,
}

impl Struct {
    pub(super) fn new(fields: &Fields) -> Self {
        let members = fields
            .iter()
            .map(|field| Column::new(field.data_type(), field.is_nullable()))
            .collect();
        Struct {
            members,
            validity: Validity::default(),
            len: 0,
        }
    }

    /// Completes a row whose members have been appended.
    #[inline]
    pub(crate) fn end(&mut self) {
        self.validity.append_valid();
        self.len += 1;
    }

    pub(super) fn push_null(&mut self) {
        self.members.iter_mut().for_each(Column::pad);
        self.validity.append_null(self.len);
        self.len += 1;
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.members
            .iter_mut()
            .for_each(|member| member.truncate(len));
        self.validity.truncate(len);
        self.len = len;
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.members.iter().map(Column::size_bytes).sum::<usize>() + self.validity.size_bytes()
    }

    pub(super) fn finish(&mut self, fields: &Fields) -> Result<ArrayRef, ArrowError> {
        let mut arrays = Vec::with_capacity(fields.len());
        for (member, field) in self.members.iter_mut().zip(fields) {
            arrays.push(member.finish(field.data_type())?);
        }
        let len = std::mem::take(&mut self.len);
        let nulls = self.validity.finish();
        Ok(Arc::new(StructArray::try_new_with_length(
            fields.clone(),
            arrays,
            nulls,
            len,
        )?))
    }
}

/// A list.
#[derive(Debug)]
pub(crate) struct List {
    offsets: Vec<i32>,
    pub(crate) item: Box<Column>,
    validity: Validity,
}

impl List {
    pub(super) fn new(item: &FieldRef) -> Self {
        let item = Box::new(Column::new(item.data_type(), item.is_nullable()));
        List {
            offsets: vec![0],
            item,
            validity: Validity::default(),
        }
    }

    /// Completes a row with the items that have been appended since the last one.
    #[inline]
    pub(crate) fn end(&mut self) -> Outcome {
        let Ok(end) = i32::try_from(self.item.len()) else {
            return Err(Fault::full());
        };
        self.validity.append_valid();
        self.offsets.push(end);
        Ok(())
    }

    /// The index of the first item of the row under construction.
    #[inline]
    pub(crate) fn start(&self) -> usize {
        offset(&self.offsets, self.offsets.len())
    }

    pub(super) fn push_null(&mut self) {
        self.validity.append_null(self.len());
        self.offsets.push(self.offsets.last().copied().unwrap_or(0));
    }

    pub(super) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.item.truncate(offset(&self.offsets, len));
        self.offsets.truncate(len + 1);
        self.validity.truncate(len);
    }

    pub(super) fn size_bytes(&self) -> usize {
        4 * self.len() + self.item.size_bytes() + self.validity.size_bytes()
    }

    pub(super) fn finish(&mut self, item: &FieldRef) -> Result<ArrayRef, ArrowError> {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(renew_offsets(&mut self.offsets)));
        let values = self.item.finish(item.data_type())?;
        Ok(Arc::new(ListArray::try_new(
            Arc::clone(item),
            offsets,
            values,
            self.validity.finish(),
        )?))
    }
}

/// A map with text keys, no key twice in a row.
#[derive(Debug)]
pub(crate) struct Map {
    offsets: Vec<i32>,
    pub(crate) keys: Bytes,
    pub(crate) values: Box<Column>,
    validity: Validity,
}

impl Map {
    pub(super) fn new(value: &FieldRef) -> Self {
        let values = Box::new(Column::new(value.data_type(), value.is_nullable()));
        Map {
            offsets: vec![0],
            keys: Bytes::new(),
            values,
            validity: Validity::default(),
        }
    }

    /// Completes a row with the entries that have been appended since the last one.
    pub(crate) fn end(&mut self) -> Outcome {
        let Ok(end) = i32::try_from(self.keys.len()) else {
            return Err(Fault::full());
        };
        self.refuse_duplicates(self.start())?;
        self.validity.append_valid();
        self.offsets.push(end);
        Ok(())
    }

    /// The index of the first entry of the row under construction.
    pub(crate) fn start(&self) -> usize {
        offset(&self.offsets, self.offsets.len())
    }

    fn refuse_duplicates(&self, start: usize) -> Outcome {
        let end = self.keys.len();
        let mut seen = HashSet::new();
        for index in start..end {
            let key = self.keys.get(index);
            let is_duplicate = if end - start <= KEYS_COMPARED {
                (start..index).any(|earlier| self.keys.get(earlier) == key)
            } else {
                !seen.insert(key)
            };
            if is_duplicate {
                return Err(Fault::new(
                    Code::DuplicateField,
                    format!("the map has the key {} twice", Shown(key)),
                ));
            }
        }
        Ok(())
    }

    pub(super) fn push_null(&mut self) {
        self.validity.append_null(self.len());
        self.offsets.push(self.offsets.last().copied().unwrap_or(0));
    }

    pub(super) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    pub(super) fn truncate(&mut self, len: usize) {
        let entries = offset(&self.offsets, len);
        self.keys.truncate(entries);
        self.values.truncate(entries);
        self.offsets.truncate(len + 1);
        self.validity.truncate(len);
    }

    pub(super) fn size_bytes(&self) -> usize {
        4 * self.len()
            + self.keys.size_bytes()
            + self.values.size_bytes()
            + self.validity.size_bytes()
    }

    pub(super) fn finish(
        &mut self,
        entries: &FieldRef,
        is_sorted: bool,
    ) -> Result<ArrayRef, ArrowError> {
        let arrow::datatypes::DataType::Struct(fields) = entries.data_type() else {
            return Err(mismatch(entries.data_type()));
        };
        let Some(value) = fields.get(1) else {
            return Err(mismatch(entries.data_type()));
        };
        let offsets = OffsetBuffer::new(ScalarBuffer::from(renew_offsets(&mut self.offsets)));
        let arrays = vec![
            self.keys.finish_text()?,
            self.values.finish(value.data_type())?,
        ];
        let structs = StructArray::try_new(fields.clone(), arrays, None)?;
        Ok(Arc::new(MapArray::try_new(
            Arc::clone(entries),
            offsets,
            structs,
            self.validity.finish(),
            is_sorted,
        )?))
    }
}
