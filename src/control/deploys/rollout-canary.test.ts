// Canaries step by step in the simulated world: what stands, who gets what, and what ends it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULT_ABORT } from '../../model/canary.ts';
import type { CanaryPlan } from '../../model/canary.ts';
import { NO_REQUESTS } from '../../model/version-counts.ts';
import type { VersionCount } from '../../model/version-counts.ts';
import { World } from './rollout-fixture.ts';
import type { Behaviour } from './rollout-fixture.ts';

const plan = (steps: CanaryPlan['steps'], more: Partial<CanaryPlan> = {}): CanaryPlan => ({
  steps,
  rules: [],
  sticky: null,
  abortOn: null,
  keepMs: 0,
  ...more,
});
const TEN = plan([{ percent: 10, holdMs: null }]);
const SWITCH = plan([{ percent: 0, holdMs: null }], { keepMs: 60_000 });

/** A world in which the first Deployment serves with 4 `web` and 1 `worker`. */
function serving(seed = 1): { readonly world: World; readonly stable: string } {
  const entrypoints = { web: { instances: 4 }, worker: { instances: 1, listens: false } };
  const world = new World({ seed, nodes: 3, crashRate: 0, entrypoints });
  const stable = world.deploy('good');
  run(world, 60);
  assert.equal(world.environment.stableDeploymentId, stable);
  return { world, stable };
}

function run(world: World, ticks: number, until: () => boolean = () => false): void {
  for (let tick = 0; tick < ticks && !until(); tick += 1) {
    for (let pass = 0; pass < 3; pass += 1) world.reconcile();
    world.tick();
  }
}

const tried = (world: World, canary: CanaryPlan, behaviour: Behaviour = 'good'): string =>
  world.deploy(behaviour, {}, { canary, promote: false, from: null });

const phaseOf = (world: World, id: string): string | undefined => world.deployments.get(id)?.status.phase;

/** `web` and `worker` of a Deployment that shall run. */
function standing(world: World, id: string): readonly [number, number] {
  const of = (name: string): number =>
    [...world.instances.values()].filter(
      ({ spec, status }) =>
        spec.deploymentId === id && spec.entrypoint === name && spec.desired === 'run' && !spec.draining && status?.healthy === true,
    ).length;
  return [of('web'), of('worker')];
}

test('a canary stands beside the whole stable Deployment with its part of the Instances, and waits for any time', () => {
  const { world, stable } = serving();
  const id = tried(world, TEN);
  world.reconcile();
  assert.deepEqual([world.environment.split?.deploymentId, world.environment.split?.percent], [id, 0], 'nothing before it serves');
  run(world, 30);
  assert.equal(phaseOf(world, id), 'canary');
  assert.equal(world.environment.split?.percent, 10);
  assert.deepEqual(standing(world, id), [1, 0], 'one of four, and no worker');
  assert.deepEqual(standing(world, stable), [4, 1]);
  run(world, 600);
  assert.equal(phaseOf(world, id), 'canary', 'no deadline ends it');
  assert.deepEqual(standing(world, stable), [4, 1]);
});

test('a promoted canary is rolled out, its share grows with its Instances, and the old ones leave', () => {
  const { world, stable } = serving();
  const id = tried(world, TEN);
  run(world, 30);
  world.promote(null);
  const shares: number[] = [];
  run(world, 90, () => {
    const { split } = world.environment;
    if (split?.deploymentId === id) shares.push(split.percent);
    return phaseOf(world, id) === 'succeeded';
  });
  assert.equal(phaseOf(world, id), 'succeeded');
  assert.deepEqual(
    shares,
    shares.toSorted((a, b) => a - b),
  );
  assert.ok(
    shares.some((share) => share > 10 && share < 100),
    `in between: ${shares.join(' ')}`,
  );
  assert.equal(world.environment.stableDeploymentId, id);
  assert.deepEqual(standing(world, id), [4, 1]);
  assert.deepEqual(standing(world, stable), [0, 0]);
  assert.equal(world.environment.split, null);
});

test('an aborted canary gets nothing from that moment on, its Instances leave, and nothing of the stable one was touched', () => {
  const { world, stable } = serving();
  const before = [...world.instances.values()].filter(({ spec }) => spec.deploymentId === stable).map(({ spec }) => spec);
  const id = tried(world, plan([{ percent: 60, holdMs: null }]));
  run(world, 30);
  assert.deepEqual(standing(world, id), [3, 0]);
  world.cancel();
  world.reconcile();
  assert.deepEqual([world.environment.split?.deploymentId, world.environment.split?.percent], [id, 0]);
  run(world, 40);
  assert.equal(phaseOf(world, id), 'canceled');
  assert.deepEqual(standing(world, id), [0, 0]);
  assert.deepEqual(
    [...world.instances.values()].filter(({ spec }) => spec.deploymentId === stable).map(({ spec }) => spec),
    before,
  );
  assert.deepEqual([world.environment.split, world.environment.candidateDeploymentId], [null, null]);
});

test('steps come into force one after the other, each when its Instances serve, and the last one promotes', () => {
  const { world } = serving();
  const steps = [5, 50, 75].map((percent) => ({ percent, holdMs: 20_000 }));
  const id = tried(world, plan(steps));
  const seen: [number, number][] = [];
  run(world, 200, () => {
    const { split } = world.environment;
    if (split?.deploymentId === id && phaseOf(world, id) === 'canary') {
      const [web] = standing(world, id);
      if (seen.at(-1)?.[0] !== split.percent) seen.push([split.percent, web]);
    }
    return phaseOf(world, id) === 'succeeded';
  });
  assert.deepEqual(seen.slice(-3), [
    [5, 1],
    [50, 2],
    [75, 3],
  ]);
  assert.equal(phaseOf(world, id), 'succeeded');
});

test('a share set by hand stays until somebody promotes, and a smaller one takes Instances away again', () => {
  const { world } = serving();
  const id = tried(
    world,
    plan([
      { percent: 5, holdMs: 5000 },
      { percent: 50, holdMs: 5000 },
    ]),
  );
  run(world, 10, () => world.environment.split?.percent === 5);
  world.promote(100);
  run(world, 200);
  assert.deepEqual([phaseOf(world, id), world.environment.split?.percent, standing(world, id)[0]], ['canary', 100, 4]);
  world.promote(25);
  world.reconcile();
  assert.equal(world.environment.split?.percent, 25, 'the share goes first');
  run(world, 40);
  assert.deepEqual([phaseOf(world, id), standing(world, id)[0]], ['canary', 1]);
});

test('a canary that keeps ending is taken back at once, one that never becomes healthy at its deadline', () => {
  for (const [behaviour, code] of [
    ['crashes', 'crash_loop'],
    ['never-healthy', 'deadline'],
  ] as const) {
    const { world, stable } = serving();
    const id = tried(world, TEN, behaviour);
    run(world, 100);
    assert.deepEqual([phaseOf(world, id), world.deployments.get(id)?.status.reason?.code], ['failed', code]);
    assert.deepEqual(standing(world, stable), [4, 1]);
    assert.equal(world.environment.split, null);
  }
});

test('an Instance of a waiting canary that goes away gets its deadline anew', () => {
  const { world } = serving();
  const id = tried(world, TEN);
  run(world, 100);
  const own = [...world.instances.values()].find(({ spec }) => spec.deploymentId === id);
  assert.ok(own);
  world.instances.set(own.spec.id, { ...own, spec: { ...own.spec, desired: 'stop', generation: own.spec.generation + 1 } });
  run(world, 40);
  assert.deepEqual([phaseOf(world, id), standing(world, id)[0]], ['canary', 1]);
});

test('a switch stands in full without requests, takes everything in one commit, and keeps the old one at hand for its time', () => {
  const { world, stable } = serving();
  const id = tried(world, SWITCH);
  run(world, 60);
  assert.deepEqual([phaseOf(world, id), world.environment.split?.percent], ['canary', 0]);
  assert.deepEqual(standing(world, id), [4, 0]);
  world.promote(null);
  world.reconcile();
  assert.equal(world.environment.split?.percent, 100, 'the traffic is there at once');
  run(world, 40, () => phaseOf(world, id) === 'succeeded');
  assert.deepEqual([phaseOf(world, id), world.environment.stableDeploymentId], ['succeeded', id]);
  assert.deepEqual(world.environment.split, { deploymentId: stable, percent: 0, rules: [], sticky: null });
  assert.deepEqual(standing(world, id), [4, 1]);
  assert.deepEqual(standing(world, stable), [4, 0], 'the worker of the old one is gone');
  run(world, 80);
  assert.deepEqual(standing(world, stable), [0, 0]);
  assert.deepEqual([world.environment.split, world.environment.standby], [null, null]);
});

test('a switch back takes the kept Instances over as they are, in one commit', () => {
  const { world, stable } = serving();
  const id = tried(world, SWITCH);
  run(world, 60);
  world.promote(null);
  run(world, 40, () => phaseOf(world, id) === 'succeeded');
  const kept = [...world.instances.values()].filter(({ spec, status }) => spec.deploymentId === stable && status?.healthy === true);
  const ids = kept.map(({ spec }) => spec.id).sort();
  assert.equal(ids.length, 4);
  world.switchBack();
  world.reconcile();
  const back = world.environment.candidateDeploymentId;
  assert.deepEqual(world.environment.split, { deploymentId: back, percent: 100, rules: [], sticky: null });
  run(world, 60);
  assert.equal(phaseOf(world, back ?? ''), 'succeeded');
  assert.equal(world.environment.stableDeploymentId, back);
  const now = [...world.instances.values()].filter(
    ({ spec, status }) => spec.deploymentId === back && spec.entrypoint === 'web' && status?.healthy === true,
  );
  assert.deepEqual(now.map(({ spec }) => spec.id).sort(), ids, 'the very same programs serve');
  assert.deepEqual(standing(world, back ?? ''), [4, 1]);
});

test('a newer Deployment takes over from a canary, which gets nothing more from the commit on that makes it', () => {
  const { world, stable } = serving();
  const id = tried(world, TEN);
  run(world, 30);
  const newer = world.deploy('good');
  assert.equal(phaseOf(world, id), 'superseded');
  assert.deepEqual(world.environment.split, { deploymentId: id, percent: 0, rules: [], sticky: null });
  run(world, 90);
  assert.equal(world.environment.stableDeploymentId, newer);
  assert.deepEqual(
    [standing(world, newer), standing(world, id), standing(world, stable)],
    [
      [4, 1],
      [0, 0],
      [0, 0],
    ],
  );
  assert.equal(world.environment.split, null);
});

test('where nothing serves yet, or nothing can stand beside, it is rolled out at once', () => {
  const first = new World({ seed: 1, nodes: 3, crashRate: 0, entrypoints: { web: { instances: 2 } } });
  const id = tried(first, TEN);
  run(first, 60);
  assert.deepEqual([phaseOf(first, id), first.environment.split], ['succeeded', null]);
  const alone = new World({ seed: 1, nodes: 3, crashRate: 0, entrypoints: { web: { singleton: true } } });
  alone.deploy('good');
  run(alone, 60);
  const next = tried(alone, TEN);
  run(alone, 60);
  assert.deepEqual([phaseOf(alone, next), alone.environment.split], ['succeeded', null]);
});

test('a stopped Environment ends a canary and what is kept at hand', () => {
  const { world } = serving();
  const id = tried(world, SWITCH);
  run(world, 60);
  world.promote(null);
  run(world, 20, () => phaseOf(world, id) === 'succeeded');
  world.setStopped(true);
  run(world, 40);
  assert.deepEqual([...world.instances.values()].filter(({ status }) => status?.healthy === true).length, 0);
  assert.deepEqual([world.environment.split, world.environment.standby], [null, null]);
});

test('one that the Edges see clearly worse than the stable one is taken back with the figures, unless nobody asked for that', () => {
  const bad = { ...NO_REQUESTS, requests: 60, errors: 60 };
  const good = { ...NO_REQUESTS, requests: 600 };
  for (const abortOn of [DEFAULT_ABORT, null]) {
    const { world, stable } = serving();
    const id = tried(world, plan([{ percent: 10, holdMs: null }], { abortOn }));
    run(world, 30);
    const seen = (candidate: VersionCount) => [
      { entrypoint: 'web', windowMs: 30_000, stable: good, candidate, recent: { stable: good, candidate } },
    ];
    world.comparisons = seen({ ...good, requests: 60 });
    run(world, 5);
    assert.equal(phaseOf(world, id), 'canary', 'as good as the other');
    world.comparisons = seen(bad);
    world.reconcile();
    if (abortOn === null) {
      assert.equal(phaseOf(world, id), 'canary');
      continue;
    }
    assert.deepEqual([world.environment.split?.deploymentId, world.environment.split?.percent], [id, 0]);
    run(world, 40);
    const status = world.deployments.get(id)?.status;
    assert.deepEqual([status?.phase, status?.reason?.code], ['failed', 'canary_worse']);
    assert.match(status?.reason?.message ?? '', /web fails: 100 % of 60 requests failed, against 0 % of 600/u);
    assert.deepEqual(standing(world, stable), [4, 1]);
  }
});

test('one that fails only as it is promoted is taken back too, and the old Instances come back', () => {
  const { world, stable } = serving();
  const id = tried(world, plan([{ percent: 25, holdMs: null }], { abortOn: DEFAULT_ABORT }));
  run(world, 30);
  world.promote(null);
  run(world, 60, () => standing(world, id)[0] === 2);
  assert.equal(phaseOf(world, id), 'rolling');
  const good = { ...NO_REQUESTS, requests: 600 };
  const bad = { ...NO_REQUESTS, requests: 200, errors: 60 };
  world.comparisons = [{ entrypoint: 'web', windowMs: 30_000, stable: good, candidate: bad, recent: { stable: good, candidate: bad } }];
  run(world, 60);
  assert.deepEqual([phaseOf(world, id), world.deployments.get(id)?.status.reason?.code], ['failed', 'canary_worse']);
  assert.deepEqual(
    [standing(world, stable), standing(world, id)],
    [
      [4, 1],
      [0, 0],
    ],
  );
  assert.equal(world.environment.split, null);
});

test('where no Entrypoint has an older version there is nothing to try', () => {
  const { world } = serving();
  const id = world.deploy('good', { web: null, front: { instances: 2 } }, { canary: TEN, promote: false, from: null });
  run(world, 90);
  assert.equal(phaseOf(world, id), 'succeeded');
});
