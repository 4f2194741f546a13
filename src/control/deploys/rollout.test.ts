// The rollout in a simulated world full of faults: what must hold at every moment, and that everything comes to rest.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { sized } from '../../../test/full-size.ts';
import type { CanaryPlan } from '../../model/canary.ts';
import { FINAL_DEPLOYMENT_PHASES } from '../../model/documents.ts';
import type { EntrypointSpec } from '../../model/manifest-types.ts';
import type { TrafficSplit } from '../../model/traffic-split.ts';
import { planRollout } from './rollout.ts';
import { ended, isEmpty, isStopFirst, World } from './rollout-fixture.ts';
import type { Behaviour } from './rollout-fixture.ts';
import { wantedOf } from './rollout-slots.ts';

/** Longer than every deadline of the world. */
const CALM_TICKS = 70;

type Action =
  | { readonly kind: 'deploy'; readonly behaviour: Behaviour }
  | { readonly kind: 'scale'; readonly instances: number }
  | { readonly kind: 'wait'; readonly ticks: number }
  | { readonly kind: 'kill' | 'drain' | 'undrain' | 'stop-one'; readonly index: number }
  | { readonly kind: 'canary'; readonly behaviour: Behaviour; readonly plan: CanaryPlan }
  | { readonly kind: 'promote'; readonly percent: number | null }
  | { readonly kind: 'cancel' | 'stop' | 'start' | 'revive' | 'switch-back' };

const wait = fc.record({ kind: fc.constant('wait' as const), ticks: fc.integer({ min: 0, max: 25 }) });
const deploy = fc.record({
  kind: fc.constant('deploy' as const),
  behaviour: fc.constantFrom<Behaviour>('good', 'good', 'good', 'slow', 'crashes', 'fails', 'never-healthy'),
});
const plan = (steps: CanaryPlan['steps'], more: Partial<CanaryPlan> = {}): CanaryPlan => ({
  steps,
  rules: [],
  sticky: null,
  abortOn: null,
  keepMs: 0,
  ...more,
});
const canary = fc.record({
  kind: fc.constant('canary' as const),
  behaviour: fc.constantFrom<Behaviour>('good', 'good', 'good', 'slow', 'crashes', 'never-healthy'),
  plan: fc.constantFrom(
    plan([{ percent: 10, holdMs: null }]),
    plan([{ percent: 0, holdMs: null }], { keepMs: 20_000 }),
    plan([{ percent: 0, holdMs: null }], { rules: [{ kind: 'header', name: 'x', value: '1' }] }),
    plan([
      { percent: 5, holdMs: 4000 },
      { percent: 50, holdMs: 9000 },
    ]),
    plan(
      [
        { percent: 34, holdMs: 3000 },
        { percent: 67, holdMs: null },
      ],
      { keepMs: 15_000 },
    ),
  ),
});
const promote = fc.record({ kind: fc.constant('promote' as const), percent: fc.constantFrom(null, null, 3, 60, 100) });
const canaryActions = fc.oneof(canary, promote, fc.constant<Action>({ kind: 'switch-back' }));
const quietActions = fc.oneof(wait, wait, deploy, canaryActions, fc.constant<Action>({ kind: 'cancel' }));
const allActions = fc.oneof(
  wait,
  wait,
  deploy,
  deploy,
  canaryActions,
  canaryActions,
  fc.record({ kind: fc.constant('scale' as const), instances: fc.integer({ min: 0, max: 5 }) }),
  fc.record({ kind: fc.constantFrom('kill' as const, 'drain' as const, 'undrain' as const, 'stop-one' as const), index: fc.nat(10) }),
  fc.constantFrom<Action>({ kind: 'cancel' }, { kind: 'stop' }, { kind: 'start' }, { kind: 'revive' }),
);

const shapes: readonly Readonly<Record<string, Partial<EntrypointSpec>>>[] = [
  { web: { instances: 1 } },
  { web: { instances: 3 }, worker: { instances: 2, listens: true } },
  { web: { instances: 3, rollout: { surge: 2, unavailable: 1, deadlineMs: 30_000, drainMs: 5000 } } },
  { web: { instances: 2, rollout: { surge: 0, unavailable: 1, deadlineMs: 30_000, drainMs: 5000 } } },
  { web: { singleton: true } },
  { web: { instances: 2, volumes: [{ name: 'data', path: '/data', sizeBytes: 1 }] } },
  { web: { instances: 2, port: 9000 } },
];

function act(world: World, action: Action): number {
  switch (action.kind) {
    case 'deploy':
      world.deploy(action.behaviour);
      return 1;
    case 'scale':
      world.scale('web', action.instances);
      return 1;
    case 'canary':
      world.deploy(action.behaviour, {}, { canary: action.plan, promote: false, from: null });
      return 1;
    case 'promote':
      world.promote(action.percent);
      return 1;
    case 'switch-back':
      world.switchBack();
      return 1;
    case 'wait':
      return action.ticks;
    case 'kill':
      world.kill(action.index);
      return 1;
    case 'drain':
    case 'undrain':
      world.drainNode(action.index, action.kind === 'drain');
      return 1;
    case 'stop-one':
      world.stopByHand(action.index);
      return 1;
    case 'cancel':
      world.cancel();
      return 1;
    case 'stop':
    case 'start':
      world.setStopped(action.kind === 'stop');
      return 1;
    case 'revive':
      world.revive();
      return 1;
  }
}

/** One pass with everything that must hold whatever happened before. */
function pass(world: World): boolean {
  const before = new Map([...world.instances].map(([id, instance]) => [id, instance]));
  const deploymentIds: readonly (string | null)[] = [...world.deployments.keys(), null];
  const perVersion = (name: string): Map<string | null, number> =>
    new Map(deploymentIds.map((id) => [id, world.available(name, (other) => other === id)]));
  const availableBefore = new Map(['web', 'worker'].map((name) => [name, perVersion(name)]));
  const target = (): string | null => {
    const candidate = world.deployments.get(world.environment.candidateDeploymentId ?? '');
    const rolls = candidate?.status.phase === 'rolling' || candidate?.status.phase === 'draining';
    return rolls ? candidate.deployment.id : world.environment.stableDeploymentId;
  };
  const { split: splitBefore } = world.environment;
  const foreseen = planRollout(world.input());
  const plan = world.reconcile();
  assert.deepEqual(plan, foreseen, 'the same input gives another plan');
  checkSplit(world, splitBefore ?? null);
  const again = planRollout(world.input());
  // Two that want the same last room may show it only in the next look's line of progress.
  const settled = plan.creates.length > 0 ? { ...again, statuses: [] } : again;
  assert.ok(isEmpty(settled), `planning again finds more to do: ${JSON.stringify(again)}`);

  const running = world.deployments.get(target() ?? '')?.deployment;
  const { split, candidateDeploymentId } = world.environment;
  // What has no share from now on serves nobody: neither counts its going, nor may it stand in for others. A canary that is being tried
  // counts for itself: its Instances are moved as its own rollout allows.
  const apart = new Set<string | null>();
  if (split !== undefined && split !== null && split.percent === 0) apart.add(split.deploymentId);
  if (world.deployments.get(candidateDeploymentId ?? '')?.status.phase === 'canary') apart.add(candidateDeploymentId);
  for (const [name, versions] of availableBefore) {
    const spec = running?.entrypoints[name];
    if (spec === undefined) continue;
    const count = [...versions].reduce((sum, [id, number]) => sum + (apart.has(id) ? 0 : number), 0);
    const after = world.available(name, (id) => !apart.has(id));
    // Where slots find no Node, what was taken back has to make room one by one.
    if (plan.unplaced.size > 0) continue;
    const spare = Math.max(spec.rollout.unavailable, isStopFirst(spec) ? 1 : 0);
    const least = wantedOf(world.input(), spec) - spare;
    assert.ok(after >= Math.min(count, least), `${name}: the plan itself took ${count - after} of ${count} away, ${least} must stay`);
  }
  for (const spec of plan.creates) {
    if (spec.role !== 'service') continue;
    const twins = [...before.values()].filter(
      (one) =>
        one.spec.deploymentId === spec.deploymentId &&
        one.spec.entrypoint === spec.entrypoint &&
        one.spec.slot === spec.slot &&
        one.spec.desired === 'run' &&
        !one.spec.draining &&
        !ended(one) &&
        world.nodes.get(one.spec.nodeId)?.draining !== true,
    );
    assert.equal(twins.length, 0, `two of one Deployment in slot ${spec.slot} of ${spec.entrypoint}`);
  }
  for (const { spec } of world.instances.values()) {
    if (world.specOf({ spec, status: null })?.singleton === true)
      assert.ok(world.programsOf(spec.entrypoint) <= 1, 'two of a singleton run');
  }
  return isEmpty(plan);
}

/** A share that comes only grows, what leaves gets nothing more, and a waiting canary takes nothing from the stable one. */
function checkSplit(world: World, before: TrafficSplit | null): void {
  const { split, candidateDeploymentId, stableDeploymentId } = world.environment;
  if (split === undefined || split === null) return;
  assert.notEqual(split.deploymentId, stableDeploymentId, 'the stable Deployment is set apart');
  const candidate = world.deployments.get(candidateDeploymentId ?? '');
  if (split.deploymentId !== candidateDeploymentId) {
    if (before?.deploymentId !== split.deploymentId) assert.equal(split.percent, 0, 'what leaves gets requests');
    return;
  }
  const byHand = candidate?.status.canary?.step === null;
  const grows = candidate?.status.phase === 'rolling' || (candidate?.status.phase === 'canary' && !byHand);
  if (before?.deploymentId === split.deploymentId && grows) assert.ok(split.percent >= before.percent, 'a user may be sent back');
}

/** Lets a healed world come to rest and checks that it is in order. */
function settle(world: World): void {
  world.revive();
  for (let index = 0; index < world.nodes.size; index += 1) world.drainNode(index, false);
  let calm = 0;
  for (let tick = 0; tick < 1500 && calm < CALM_TICKS; tick += 1) {
    world.tick();
    calm = pass(world) ? calm + 1 : 0;
    // One that waits for somebody waits for ever.
    if (calm === CALM_TICKS && world.deployments.get(world.environment.candidateDeploymentId ?? '')?.status.phase === 'canary') {
      world.promote(null);
      calm = 0;
    }
  }
  assert.ok(calm >= CALM_TICKS, 'it never comes to rest');
  assert.equal(world.environment.candidateDeploymentId, null, 'a Deployment is still on its way');
  assert.equal(world.environment.split ?? null, null, 'traffic is still split');
  assert.equal(world.environment.standby ?? null, null, 'something is still kept');
  for (const { status } of world.deployments.values()) assert.ok(FINAL_DEPLOYMENT_PHASES.has(status.phase), `phase ${status.phase}`);
  const stable = world.deployments.get(world.environment.stableDeploymentId ?? '')?.deployment;
  // One that was scaled to nothing while it rolled has succeeded without ever being started.
  const behaviour = world.behaviours.get(stable?.id ?? '');
  if (stable !== undefined && behaviour !== 'good' && behaviour !== 'slow') return;
  const live = [...world.instances.values()].filter((one) => !ended(one));
  const wanted = Object.values(stable?.entrypoints ?? {}).flatMap((spec) =>
    Array.from(
      { length: Math.min(wantedOf(world.input(), spec), limitOf(world, spec)) },
      (_unused, slot) => `${stable?.id}/${spec.name}/${slot}`,
    ),
  );
  const there = live.map(({ spec }) => `${spec.deploymentId}/${spec.entrypoint}/${spec.slot}`).sort();
  assert.deepEqual(there, wanted.sort(), 'what runs is not what shall run');
  for (const { spec, status } of live) assert.equal(status?.healthy, true, `${spec.id} is not healthy`);
}

/** A fixed port means one Instance per Node. */
function limitOf(world: World, spec: EntrypointSpec): number {
  return spec.port === null ? Number.POSITIVE_INFINITY : world.nodes.size;
}

function run(world: World, actions: readonly Action[]): void {
  for (const action of actions) {
    const ticks = act(world, action);
    pass(world);
    for (let tick = 0; tick < ticks; tick += 1) {
      world.tick();
      pass(world);
    }
  }
}

test('whatever happens, a rollout keeps its promises at every moment and comes to rest in order', () => {
  fc.assert(
    fc.property(fc.integer(), fc.constantFrom(...shapes), fc.array(allActions, { maxLength: 14 }), (seed, entrypoints, actions) => {
      const world = new World({ seed, nodes: 3, crashRate: 0.02, entrypoints });
      world.deploy('good');
      run(world, actions);
      const calm = new World({ seed, nodes: 3, crashRate: 0, entrypoints });
      Object.assign(world, { options: { ...calm['options'] } });
      settle(world);
    }),
    { numRuns: sized({ usual: 600, full: 2000 }) },
  );
});

/** A canary is taken back while a Deployment before it still stands in for the stable one: what has no share was counted as serving. */
const takenBackEarly = (seed: number): [number, (typeof shapes)[number], Action[]] => [
  seed,
  { web: { instances: 3, rollout: { surge: 2, unavailable: 1, deadlineMs: 30_000, drainMs: 5000 } } },
  [
    { kind: 'deploy', behaviour: 'good' },
    { kind: 'wait', ticks: 0 },
    { kind: 'wait', ticks: 1 },
    { kind: 'deploy', behaviour: 'good' },
    {
      kind: 'canary',
      behaviour: 'good',
      plan: plan(
        [
          { percent: 34, holdMs: 3000 },
          { percent: 67, holdMs: null },
        ],
        { keepMs: 15_000 },
      ),
    },
    { kind: 'cancel' },
  ],
];

test('without faults of Nodes the number of healthy targets never falls below what the Entrypoint allows', () => {
  fc.assert(
    fc.property(
      fc.integer(),
      fc.constantFrom(...shapes.slice(0, 4)),
      fc.array(quietActions, { maxLength: 14 }),
      (seed, entrypoints, actions) => {
        const world = new World({ seed, nodes: 3, crashRate: 0, entrypoints });
        const { instances = 1, rollout } = entrypoints['web'] ?? {};
        world.deploy('good');
        for (let tick = 0; tick < 60; tick += 1) {
          world.tick();
          pass(world);
        }
        assert.equal(world.available('web'), instances, 'the first Deployment serves');
        const enough = (): void => {
          const least = instances - (rollout?.unavailable ?? 0);
          assert.ok(world.serving('web') >= least, `${world.serving('web')} of ${instances} serve`);
          const candidate = world.deployments.get(world.environment.candidateDeploymentId ?? '');
          if (candidate?.status.phase !== 'canary') return;
          const stable = world.available('web', (id) => id !== candidate.deployment.id && id !== world.environment.standby?.deploymentId);
          assert.ok(stable >= least, `${stable} of ${instances} serve beside the canary`);
        };
        for (const action of actions) {
          const ticks = act(world, action);
          for (let tick = 0; tick <= ticks; tick += 1) {
            pass(world);
            enough();
            world.tick();
            enough();
          }
        }
        settle(world);
      },
    ),
    { numRuns: 200, examples: [takenBackEarly(8), takenBackEarly(12)] },
  );
});
