//! When people use a service.

use std::f64::consts::PI;

/// What is left of the evening's activity in the dead of night: one eighth.
const AWAKE_LOW: f64 = 0.125;
/// Local hour of least activity.
const LOW_H: f64 = 4.0;
/// Local hour of most activity.
const HIGH_H: f64 = 20.0;

/// Activity at a local hour, between [`AWAKE_LOW`] at 4 h and 1 at 20 h.
///
/// Half a cosine rises over the 16 hours from 4 to 20, another falls over the 8 hours back to 4: smooth, slow to rise
/// and quick to fall, as request rates of public services are. Not fitted to any of them.
pub(super) fn awake(local_h: f64) -> f64 {
    let since_low_h = (local_h - LOW_H).rem_euclid(24.0);
    let rise_h = HIGH_H - LOW_H;
    let phase = match since_low_h < rise_h {
        true => since_low_h / rise_h,
        false => 1.0 + (since_low_h - rise_h) / (24.0 - rise_h),
    };
    AWAKE_LOW + (1.0 - AWAKE_LOW) * (1.0 - (PI * phase).cos()) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_at_four_high_at_twenty_smooth_between() {
        assert!((awake(4.0) - AWAKE_LOW).abs() < 1e-12);
        assert!((awake(20.0) - 1.0).abs() < 1e-12);
        assert!((awake(28.0) - awake(4.0)).abs() < 1e-12);
        assert!((awake(-4.0) - awake(20.0)).abs() < 1e-12);
        assert!(awake(9.0) < awake(13.0) && awake(22.0) > awake(1.0));
        for step in 0..2400 {
            let h = f64::from(step) / 100.0;
            assert!((awake(h + 0.01) - awake(h)).abs() < 0.002, "a jump at {h}");
        }
    }
}
