//! Weighted least squares with a ridge, for a fixed number of columns.
//!
//! Rows are taken four at a time and columns eight at a time, so that the compiler keeps sums in vector registers.

#![allow(
    clippy::indexing_slicing,
    clippy::needless_range_loop,
    reason = "indices run over the constant lengths of the arrays that they index, as the formulas are written"
)]

pub(super) const COLUMNS: usize = 24;
/// Columns that are summed side by side.
const LANES: usize = 8;
const BLOCKS: usize = COLUMNS / LANES;
/// The first of the columns that [`Sums::renew_last_columns`] knows to have changed.
pub(super) const LAST_COLUMNS: usize = (BLOCKS - 1) * LANES;

pub(super) type Row = [f32; COLUMNS];

/// Σ w·x·xᵀ (its upper triangle, in blocks of columns) and Σ w·x·y.
#[derive(Debug, Clone)]
pub(super) struct Sums {
    products: [[[f32; LANES]; COLUMNS]; BLOCKS],
    targets: Row,
}

impl Sums {
    pub(super) fn new() -> Self {
        Self {
            products: [[[0.0; LANES]; COLUMNS]; BLOCKS],
            targets: [0.0; COLUMNS],
        }
    }

    /// Adds rows with their weights; the products alone.
    pub(super) fn add_products(&mut self, rows: &[Row], weights: &[f32]) {
        self.add_blocks(rows, weights, 0);
    }

    /// Sums the products anew that the last columns have a part in; the others' rows are still the same.
    pub(super) fn renew_last_columns(&mut self, rows: &[Row], weights: &[f32]) {
        self.products[BLOCKS - 1] = [[0.0; LANES]; COLUMNS];
        self.add_blocks(rows, weights, BLOCKS - 1);
    }

    fn add_blocks(&mut self, rows: &[Row], weights: &[f32], first: usize) {
        let mut fours = rows.chunks_exact(4);
        let mut weights = weights.chunks_exact(4);
        for (four, weight) in fours.by_ref().zip(weights.by_ref()) {
            if let ([a, b, c, d], [p, q, r, s]) = (four, weight) {
                self.add_four([a, b, c, d], [*p, *q, *r, *s], first);
            }
        }
        for (row, weight) in fours.remainder().iter().zip(weights.remainder()) {
            self.add_four([row; 4], [*weight, 0.0, 0.0, 0.0], first);
        }
    }

    fn add_four(&mut self, rows: [&Row; 4], weights: [f32; 4], first: usize) {
        let mut weighted = [[0.0_f32; COLUMNS]; 4];
        for ((weighted, row), weight) in weighted.iter_mut().zip(rows).zip(weights) {
            for column in 0..COLUMNS {
                weighted[column] = weight * row[column];
            }
        }
        for (block, products) in self.products.iter_mut().enumerate().skip(first) {
            let mut columns = [[0.0_f32; LANES]; 4];
            for (columns, row) in columns.iter_mut().zip(rows) {
                columns.copy_from_slice(&row[block * LANES..(block + 1) * LANES]);
            }
            let [a, b, c, d] = columns;
            for (place, sums) in products.iter_mut().enumerate().take((block + 1) * LANES) {
                let p = weighted[0][place];
                let q = weighted[1][place];
                let r = weighted[2][place];
                let s = weighted[3][place];
                for lane in 0..LANES {
                    sums[lane] += (p * a[lane] + q * b[lane]) + (r * c[lane] + s * d[lane]);
                }
            }
        }
    }

    pub(super) fn add_targets(&mut self, rows: &[Row], weights: &[f32], targets: &[f32]) {
        for ((row, weight), target) in rows.iter().zip(weights).zip(targets) {
            let share = weight * target;
            for (sum, value) in self.targets.iter_mut().zip(row) {
                *sum += share * value;
            }
        }
    }

    /// The coefficients that minimise the weighted squared error plus `ridge` times the mean diagonal times their
    /// squares, with each column in units of its root of `squares`. A column of zeros gets zero.
    pub(super) fn solve(&self, squares: &Row, ridge: f64) -> Row {
        let unit = squares.map(|square| f64::from(square).sqrt());
        let inverse = unit.map(|unit| if unit > 1e-9 { 1.0 / unit } else { 0.0 });
        let mut matrix = [[0.0_f64; COLUMNS]; COLUMNS];
        for column in 0..COLUMNS {
            for row in 0..=column {
                let product = self.products[column / LANES][row][column % LANES];
                matrix[column][row] = f64::from(product) * inverse[row] * inverse[column];
            }
        }
        let used = inverse.iter().filter(|unit| **unit > 0.0).count().max(1);
        let trace: f64 = (0..COLUMNS).map(|place| matrix[place][place]).sum();
        let added = (ridge * trace / used as f64).max(1e-12);
        let mut right = [0.0_f64; COLUMNS];
        for place in 0..COLUMNS {
            matrix[place][place] += added;
            right[place] = f64::from(self.targets[place]) * inverse[place];
        }
        cholesky(&mut matrix, &mut right);
        let mut coefficients = [0.0; COLUMNS];
        for place in 0..COLUMNS {
            coefficients[place] = (right[place] * inverse[place]) as f32;
        }
        coefficients
    }
}

/// The mean squares of the columns.
pub(super) fn squares(rows: &[Row]) -> Row {
    let mut squares = [0.0; COLUMNS];
    for row in rows {
        for (square, value) in squares.iter_mut().zip(row) {
            *square += value * value;
        }
    }
    squares.map(|square| square / rows.len().max(1) as f32)
}

/// Solves a positive definite system in place, from its lower triangle.
fn cholesky(matrix: &mut [[f64; COLUMNS]; COLUMNS], right: &mut [f64; COLUMNS]) {
    for column in 0..COLUMNS {
        for row in column..COLUMNS {
            let mut sum = matrix[row][column];
            for inner in 0..column {
                sum -= matrix[row][inner] * matrix[column][inner];
            }
            matrix[row][column] = if row == column {
                // The ridge keeps it positive; rounding may not.
                sum.max(1e-12).sqrt()
            } else {
                sum / matrix[column][column]
            };
        }
    }
    for row in 0..COLUMNS {
        for inner in 0..row {
            right[row] -= matrix[row][inner] * right[inner];
        }
        right[row] /= matrix[row][row];
    }
    for row in (0..COLUMNS).rev() {
        for inner in row + 1..COLUMNS {
            right[row] -= matrix[inner][row] * right[inner];
        }
        right[row] /= matrix[row][row];
    }
}

/// Σ x·b.
pub(super) fn predict(row: &Row, coefficients: &Row) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let blocks = row
        .chunks_exact(LANES)
        .zip(coefficients.chunks_exact(LANES));
    for (row, coefficients) in blocks {
        for lane in 0..LANES {
            sums[lane] += row[lane] * coefficients[lane];
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_coefficients_are_found() {
        let mut state = 1_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as f32 / 65_536.0 - 0.5
        };
        let truth: Row =
            std::array::from_fn(|place| if place == 5 { 0.0 } else { place as f32 - 10.0 });
        let rows: Vec<Row> = (0..203)
            .map(|_| std::array::from_fn(|place| if place == 5 { 0.0 } else { random() }))
            .collect();
        let targets: Vec<f32> = rows.iter().map(|row| predict(row, &truth)).collect();
        let mut weights = vec![1.0; rows.len()];
        weights[7] = 0.0;
        let mut wrong = targets.clone();
        wrong[7] = 1e6;
        let mut sums = Sums::new();
        sums.add_products(&rows, &weights);
        sums.add_targets(&rows, &weights, &wrong);
        sums.renew_last_columns(&rows, &weights);
        let found = sums.solve(&squares(&rows), 1e-9);
        for (found, truth) in found.iter().zip(truth) {
            assert!((found - truth).abs() < 1e-2, "{found} {truth}");
        }
    }
}
