"""The simulator: readings of a whole cluster out of the catalogue and a seed, and nothing else.

    plan ─► fleet ─► quantities (+ scenario effects) ─► transport (delay, loss, repeats, outages) ─► gateways ─► steps

`producers.simulator.plan.make_plan` says what to simulate, `producers.simulator.run.Simulation(plan).steps()` yields
one `Step` per tick of event time. What it yields is a pure function of the plan, however fast it is played and
whoever takes it: `producers.simulation.play` writes it to the broker, `log_steps` to logs in memory.
"""
