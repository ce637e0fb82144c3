//! From sealed rows to staged files: where rows lie, how they are encoded, what their statistics say, how they reach the store. Never commits, never deletes.

mod conform;
pub mod encode;
mod encodings;
pub mod error;
pub mod layout;
pub mod placement;
pub mod rewrite;
pub mod stats;
pub mod upload;

pub use conform::conform;
pub use encode::{EncodedFile, Encoder};
pub use error::Error;
pub use layout::Layout;
pub use placement::derived_fields;
pub use rewrite::{RewriteLayout, Rewriter};
pub use upload::upload;

#[cfg(test)]
mod testing;
