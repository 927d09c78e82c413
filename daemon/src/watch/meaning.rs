//! What notify says, in the few words that matter here.

use notify::EventKind;
use notify::event::{AccessKind, AccessMode, CreateKind, MetadataKind, ModifyKind, RemoveKind, RenameMode};

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Its content changed.
    Written,
    /// A file is new.
    Appeared,
    /// A directory is new.
    Directory,
    /// Something is new, perhaps a directory.
    Something,
    /// It got this name; perhaps a directory, perhaps in another one's place.
    Arrived,
    /// Its mode, its owner or its times changed.
    Attributes,
    /// It is gone, or has another name.
    Left,
    /// A directory is gone, after all that was in it.
    Removed,
    /// Only a look, or what is not in the content.
    Nothing,
}

pub(super) fn meaning(kind: EventKind) -> Meaning {
    match kind {
        EventKind::Create(CreateKind::File) => Meaning::Appeared,
        EventKind::Create(CreateKind::Folder) => Meaning::Directory,
        EventKind::Create(CreateKind::Any | CreateKind::Other) => Meaning::Something,
        // Looking at files by turns shows a new time of writing and nothing else.
        EventKind::Modify(ModifyKind::Any | ModifyKind::Data(_) | ModifyKind::Other)
        | EventKind::Modify(ModifyKind::Metadata(MetadataKind::WriteTime))
        | EventKind::Access(AccessKind::Close(AccessMode::Write)) => Meaning::Written,
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) => Meaning::Left,
        EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Any | RenameMode::Other)) => {
            Meaning::Arrived
        }
        EventKind::Remove(RemoveKind::Any | RemoveKind::File | RemoveKind::Other) => Meaning::Left,
        EventKind::Remove(RemoveKind::Folder) => Meaning::Removed,
        EventKind::Modify(ModifyKind::Metadata(_)) => Meaning::Attributes,
        // Both halves of a rename have been told already.
        EventKind::Modify(ModifyKind::Name(RenameMode::Both))
        | EventKind::Access(_)
        | EventKind::Any
        | EventKind::Other => Meaning::Nothing,
    }
}
