//! The mesh and the commands of `farwire_tests::up`, which are those of the binary that lies beside these tests.

pub(crate) use farwire_tests::up::{Guard, PATIENCE, ProcessMesh as Mesh, farwire, lines, wait_for, wait_until};
