"""Reference values of `grts-game/src/sampling` at 50 digits: `reference.py`. Needs mpmath (1.3.0 was used).

Prints the tables of the tests in `sequence.rs` (ends of the beta-binomial confidence sequence) and `bounds.rs`
(Clopper-Pearson at the level of one entry of many).
"""

from mpmath import beta, betainc, log, mp, mpf

mp.dps = 50


def sequence_ends(wins, n, delta):
    """Solutions of B(1/2 + w, 1/2 + l) / B(1/2, 1/2) = mu^w (1 - mu)^l / delta below and above w / n."""
    wins, losses, half = mpf(wins), mpf(n) - mpf(wins), mpf(1) / 2
    wealth = log(beta(half + wins, half + losses)) - log(beta(half, half)) + log(mpf(delta))

    def excess(mu):
        kept = (wins * log(mu) if wins else 0) + (losses * log(1 - mu) if losses else 0)
        return wealth - kept

    return ends(excess, wins / n)


def ends(excess, mean):
    tiny = mpf(10) ** -40
    low = mpf(0) if mean == 0 else bisect(excess, tiny, mean)
    high = mpf(1) if mean == 1 else bisect(excess, 1 - tiny, mean)
    return low, high


def bisect(function, outside, inside):
    for _ in range(160):
        middle = (outside + inside) / 2
        if function(middle) > 0:
            outside = middle
        else:
            inside = middle
    return inside


def clopper_pearson(k, n, delta):
    delta = mpf(delta)
    low = bisect(lambda x: delta / 2 - betainc(k, n - k + 1, 0, x, regularized=True), mpf(0), mpf(k) / n)
    high = bisect(lambda x: delta / 2 - betainc(k + 1, n - k, x, 1, regularized=True), mpf(1), mpf(k) / n)
    return low, high


print("sequence: wins, n, delta, low, high")
for case in [("0", 10, "0.05"), ("3", 10, "0.05"), ("26", 128, "0.00125"), ("1200.5", 4801, "0.0001"), ("7", 7, "0.05")]:
    print(case, *(mp.nstr(end, 17) for end in sequence_ends(mpf(case[0]), case[1], mpf(case[2]))))
print("Clopper-Pearson: successes, n, delta, low, high")
for case in [(5, 96, "0.000125"), (48, 96, "0.000125"), (300, 1000, "1e-7")]:
    print(case, *(mp.nstr(end, 17) for end in clopper_pearson(*case)))
