// Changes of routes and targets while requests flow and hundreds of streams are open: nothing fails, and no stream ends
// that a change does not concern.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RouteRule } from '../../src/api/dataplane.ts';
import { group, rule, startEdge, target, until } from '../../src/edge/edge-fixture.ts';
import { startApp } from '../fixtures/edge-process.ts';
import { startLoad } from '../fixtures/load.ts';
import { sized } from '../full-size.ts';

const CHANGES = sized({ usual: 80, full: 200 });
const WEB_SOCKETS = sized({ usual: 200, full: 500 });
const EVENT_STREAMS = sized({ usual: 100, full: 200 });
const PAUSE_MS = 50;
const HOST = 'shop.localhost';

test(`${CHANGES} changes of routes and targets with ${WEB_SOCKETS} WebSockets and ${EVENT_STREAMS} event streams open lose nothing`, async (t) => {
  const [one, two, three] = await Promise.all([startApp('hello'), startApp('hello'), startApp('hello')]);
  const edge = await startEdge();
  const stays = [target('one', one.port), target('two', two.port)];
  const comesAndGoes = target('three', three.port);
  const rulesAt = (turn: number): RouteRule[] => [
    rule(HOST, 'shop'),
    // Rules around the one that has the streams come, go and move.
    ...Array.from({ length: 20 }, (_, index) => rule(`app${index + (turn % 50)}.localhost`, 'other', `/p${turn % 7}`)),
    ...(turn % 2 === 0 ? [rule(HOST, 'other', '/elsewhere'), rule('*.localhost', 'other')] : []),
  ];
  await edge.install({ rules: rulesAt(0), groups: [group('shop', stays), group('other', [comesAndGoes])] });
  const load = startLoad({
    port: edge.port,
    host: HOST,
    keptAlive: 4,
    fresh: 2,
    large: { loops: 1, bytes: 1024 * 1024 },
    webSockets: WEB_SOCKETS,
    eventStreams: EVENT_STREAMS,
    pauseMs: 10,
    accept: (status, body) => status === 200 && body === 'hello',
  });
  try {
    await until('all streams are open', () => edge.edge.health().open >= WEB_SOCKETS + EVENT_STREAMS, 20_000);
    for (let turn = 1; turn <= CHANGES; turn += 1) {
      if (turn % 4 === 0) {
        // An upstream comes and goes beside those that have the streams; going, it is not drained long: it has only requests.
        const extra = turn % 8 === 0 ? [{ ...comesAndGoes, instanceId: `three-${turn}` }] : [];
        await edge.put(group('shop', [...stays, ...extra]), group('other', turn % 16 === 0 ? [] : [comesAndGoes]));
      } else await edge.install({ rules: rulesAt(turn), groups: [group('shop', stays), group('other', [comesAndGoes])] });
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
    assert.deepEqual(load.failures(), []);
  } finally {
    const result = await load.stop();
    t.diagnostic(
      `${result.requests} small and ${result.largeRequests} large requests, ${result.failures.length} failed; ${result.streamsOpened} streams opened, ${result.endedStreams.length} ended`,
    );
    await edge.stop();
    await Promise.all([one.stop(), two.stop(), three.stop()]);
    assert.deepEqual(result.failures, []);
    // Streams on a target that a change took away may end; those on the two that stay may not.
    assert.equal(result.streamsOpened, WEB_SOCKETS + EVENT_STREAMS + result.endedStreams.length);
    assert.deepEqual(result.endedStreams, []);
  }
});
