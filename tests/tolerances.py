"""The one place that says how close is close.  All are relative norms; no test has its own."""
TOLERANCE = {
    'value, float64': 1e-12,
    'gradient against finite differences, float64': 1e-8,
    'gradient, float64': 1e-12,
    'gradient, float32': 1e-5,
    'loss, float32': 1e-6,
    # exp(z - max - log sum): both differences are rounded to half a last digit of their size
    'probability, float32, for each unit of its logarithm': 2.0 ** -23,
    'gradient, float16': 1e-3,
    'loss, float16': 1e-3,
    'gradient, added up in float32 by servers': 1e-6,
    'sum in float32, all but its last bit': 2e-7,
    'six digits, as Caffe prints them': 6e-6,
}
