import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from strategies import shapes, topologies

from sparsecore.evolution.history import History
from sparsecore.storage import TopologyEdit


@given(st.data())
def test_history_remembers_every_link_and_its_last_value(data):
    shape = data.draw(shapes(high=6))
    topology = data.draw(topologies(shape))
    history, ever, last = History.empty(), set(topology.link_ids.tolist()), {}
    for step in range(1, 5):
        new = data.draw(topologies(shape))
        values = (topology.link_ids + 100.0 * step).astype(np.float32)
        held = dict(zip(topology.link_ids.tolist(), values.tolist(), strict=True))
        history = history.after(TopologyEdit.between(topology, new), values)
        last |= {link: held[link] for link in set(held) - set(new.link_ids.tolist())}
        topology = new
        ever |= set(topology.link_ids.tolist())
        assert history.explored(topology) == len(ever)
    everything = np.arange(shape[0] * shape[1])
    assert history.values_of(everything).tolist() == [last.get(link, 0.0) for link in everything.tolist()]
