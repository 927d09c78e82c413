//! One table over another.

use crate::raw::{Entry, Node, Table, Value};

/// Lays `over` over `base`, key by key: tables are merged, any other value takes the place of what was there.
pub(super) fn lay_over(base: &mut Table, over: Table) {
    for Entry { key, key_span, node } in over.entries {
        let Some(below) = base.entries.iter_mut().find(|entry| entry.key == key) else {
            base.entries.push(Entry { key, key_span, node });
            continue;
        };
        match (&mut below.node, node.value) {
            (Node { value: Value::Table(below), .. }, Value::Table(above)) => lay_over(below, above),
            (replaced, value) => {
                *replaced = Node { span: node.span, value };
                below.key_span = key_span;
            }
        }
    }
}
