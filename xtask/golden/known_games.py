"""Fixtures of `grts-game` from OpenSpiel: curves of fictitious play on poker, Elo ratings, α-rank; and PSRO on the clock.

    python known_games.py fixtures ../../crates/grts-game/tests/fixtures/open_spiel.json
    python known_games.py alpha-rank ../../crates/grts-game/tests/fixtures/alpha_rank.json
    python known_games.py psro leduc 60

Needs `open_spiel==2.0.2`, α-rank also numpy and scipy; `psro` also `cvxpy` and `ecos`, which its solver of matrix games calls. Best responses and NashConv are OpenSpiel's own; the mixture of the responses so far is made here, by
the reach of each player's own actions, since a mixture of whole policies is what the loop of `grts` mixes. Where several
actions are best within 1e-6 the first one is taken: OpenSpiel lets rounding decide.
"""

import json
import random
import sys
import time

import pyspiel

CURVES = {"kuhn": ("kuhn_poker", 41), "leduc": ("leduc_poker", 101)}


def information_sets(game):
    """Per player {information state: (legal actions, own sequence that leads there)}, parents first."""
    found = [{}, {}]

    def walk(state, sequences):
        if state.is_terminal():
            return
        if state.is_chance_node():
            for action, _ in state.chance_outcomes():
                walk(state.child(action), sequences)
            return
        player, key = state.current_player(), state.information_state_string()
        found[player].setdefault(key, (state.legal_actions(), sequences[player]))
        for action in state.legal_actions():
            after = list(sequences)
            after[player] = (key, action)
            walk(state.child(action), after)

    walk(game.new_initial_state(), [None, None])
    return found


def plan(sets, policy):
    """Probability that the player's own actions lead through each sequence."""
    reach = {None: 1.0}
    for key, (actions, parent) in sets.items():
        for action in actions:
            reach[key, action] = reach[parent] * policy[key].get(action, 0.0)
    return reach


def behaviour(sets, reach):
    policy = {}
    for key, (actions, _) in sets.items():
        total = sum(reach[key, action] for action in actions)
        policy[key] = {a: reach[key, a] / total if total > 0 else 1 / len(actions) for a in actions}
    return policy


def tabular(behaviours):
    return pyspiel.TabularPolicy({key: list(p.items()) for one in behaviours for key, p in one.items()})


def first_best(game, player, mixture):
    """Per information state the first of the best actions."""
    response = pyspiel.TabularBestResponse(game, player, mixture, -1.0, 1e-6)
    table = response.get_best_response_policy().policy_table()
    return {key: next(action for action, probability in actions if probability > 0) for key, actions in table.items()}


def uniform_curve(name, length):
    """NashConv of the uniform mixture over the uniform policy and all best responses to earlier mixtures."""
    game = pyspiel.load_game(name)
    sets = information_sets(game)
    totals = [plan(s, {k: {a: 1 / len(acts) for a in acts} for k, (acts, _) in s.items()}) for s in sets]
    curve = []
    for count in range(1, length + 1):
        mixture = tabular([behaviour(s, total) for s, total in zip(sets, totals)])
        curve.append(pyspiel.nash_conv(game, mixture))
        for player in range(2):
            best = first_best(game, player, mixture)
            pure = {key: {best[key]: 1.0} for key in sets[player]}
            for sequence, reach in plan(sets[player], pure).items():
                totals[player][sequence] += reach
    return curve


def elo_cases():
    draw = random.Random(2)
    cases = []
    for n in (2, 5, 12, 30):
        wins = [[0 if i == j else draw.randint(0, 20) for j in range(n)] for i in range(n)]
        cases.append({"wins": wins, "draws": [[0] * n for _ in range(n)]})
        if n == 5:
            draws = [[0] * n for _ in range(n)]
            for i in range(n):
                for j in range(i):
                    draws[i][j] = draws[j][i] = draw.randint(0, 7)
            cases.append({"wins": wins, "draws": draws})
    cases.append({"wins": [[0, 9, 9], [0, 0, 9], [0, 0, 0]], "draws": [[0] * 3 for _ in range(3)]})
    options = pyspiel.elo.default_elo_options()
    options.max_iterations, options.convergence_delta = 5_000_000, 1e-18
    for case in cases:
        case["ratings"] = pyspiel.elo.compute_ratings_from_matrices(case["wins"], case["draws"], options)
    return {"smoothing": options.smoothing_factor, "cases": cases}


def alpha_rank_cases():
    """Stationary distributions of OpenSpiel's α-rank: two populations, one population, and an infinite α.

    For the last OpenSpiel plays losing steps with a small probability, so its answer is off by about as much, and it
    takes ties for ½ where a finite α tends to 1/m: those games have no ties.
    """
    import types

    import numpy as np

    # It draws, and would want matplotlib.
    sys.modules["open_spiel.python.egt.alpharank_visualizer"] = types.ModuleType("alpharank_visualizer")
    from open_spiel.python.egt import alpharank

    draw = np.random.default_rng(3)
    tied = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 0.5], [0.5, 0.5, 0.5]])
    two = [draw.uniform(-1, 1, shape) for shape in [(2, 2), (3, 5), (6, 4)]] + [tied]
    noise = [draw.uniform(-1, 1, (n, n)) for n in (3, 8, 20)]
    rps = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
    one = [x - x.T for x in noise] + [rps]
    cases = []
    for payoffs, tables, kind in [(x, [x, -x], "pairs") for x in two] + [(x, [x], "population") for x in one]:
        answers = []
        for alpha, m in [(0.1, 50), (1.0, 10), (5.0, 50), (30.0, 5)]:
            mass = alpharank.compute(tables, m=m, alpha=alpha)[2]
            answers.append({"alpha": alpha, "population": m, "mass": mass.tolist()})
        if payoffs is not tied:
            mass = alpharank.compute(tables, use_inf_alpha=True, inf_alpha_eps=1e-11)[2]
            answers.append({"alpha": None, "population": 50, "mass": mass.tolist()})
        cases.append({"kind": kind, "payoffs": payoffs.tolist(), "answers": answers})
    return cases


def fixtures(path):
    curves = {name: uniform_curve(*settings) for name, settings in CURVES.items()}
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"uniform_nash_conv": curves, "elo": elo_cases()}, file)
        file.write("\n")


def psro(name, length):
    """PSRO with exact oracles, exact payoffs and Nash meta-strategies, made of OpenSpiel's fastest parts.

    Best responses and payoffs are its C++ ones, matrix games go to its `lp_solver`, and payoffs are cached. Its own
    `psro_v2` samples payoffs and mixes policies in Python, which is slower. The clock counts CPU seconds.
    """
    from open_spiel.python.algorithms import lp_solver

    game = pyspiel.load_game(CURVES[name][0])
    begun = time.process_time()
    sets = information_sets(game)
    start = [{k: {a: 1 / len(acts) for a in acts} for k, (acts, _) in s.items()} for s in sets]
    tables, plans = [[tabular([p])] for p in start], [[plan(s, p)] for s, p in zip(sets, start)]
    payoffs = {}
    for iteration in range(length + 1):
        size = [len(population) for population in tables]
        for i in range(size[0]):
            for j in range(size[1]):
                if (i, j) not in payoffs:
                    both = [tables[0][i], tables[1][j]]
                    payoffs[i, j] = pyspiel.expected_returns(game.new_initial_state(), both, -1, True, 1e-12)[0]
        matrix = [[payoffs[i, j] for j in range(size[1])] for i in range(size[0])]
        negative = [[-x for x in row] for row in matrix]
        row, col, _, _ = lp_solver.solve_zero_sum_matrix_game(pyspiel.create_matrix_game(matrix, negative))
        mixed = []
        for side, weights in ((0, row), (1, col)):
            weights = [max(float(w), 0.0) for w in weights]
            total = {q: sum(w * p[q] for w, p in zip(weights, plans[side]) if w > 0) for q in plans[side][0]}
            mixed.append(behaviour(sets[side], total))
        mixture = tabular(mixed)
        if iteration % 10 == 0 or iteration == length:
            spent = time.process_time() - begun
            print(f"{iteration:5}  {pyspiel.nash_conv(game, mixture):.6f}  {spent:9.2f} s", flush=True)
        for side in range(2):
            best = first_best(game, side, mixture)
            pure = {key: {best[key]: 1.0} for key in sets[side]}
            tables[side].append(tabular([pure]))
            plans[side].append(plan(sets[side], pure))


def alpha_rank(path):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(alpha_rank_cases(), file)
        file.write("\n")


if sys.argv[1] == "fixtures":
    fixtures(sys.argv[2])
elif sys.argv[1] == "alpha-rank":
    alpha_rank(sys.argv[2])
else:
    psro(sys.argv[2], int(sys.argv[3]))
