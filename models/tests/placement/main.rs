mod exact;
#[test]
fn t() {
    assert!(exact::optimum(&Default::default()).is_some());
}
