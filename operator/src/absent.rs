//! What an API server says of something that is not there.

/// Whether there is no such object, or no such kind. A kind that is not installed is answered in words, not with a `Status`:
/// only the code is the same.
pub(crate) fn is_absent(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
