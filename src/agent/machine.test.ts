// Properties of the life of an Instance: whatever control, drivers and the machine do, in whatever order.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { sized } from '../../test/full-size.ts';
import type { DesiredInstance } from '../api/agent.ts';
import type { Reason } from '../model/documents.ts';
import { isCrashLoop, newInstanceState, phaseOf, restoredState } from './instance-state.ts';
import type { Effect, End, InstanceState } from './instance-state.ts';
import { step } from './machine.ts';
import type { InstanceEvent } from './machine.ts';
import { desiredInstance, desiredOneOff } from './testing.ts';

const why: Reason = { code: 'driver_error', message: 'because', hint: null, lastLines: [], instanceId: 'i' };
const ended = (code: number | null, ranMs: number | null = 10, seen = true): End => ({ seen, code, signal: null, atMs: 1, ranMs });

/** Plays one Instance against a driver that only ever does what the effects say, and keeps the books. */
class World {
  state: InstanceState;
  spec: DesiredInstance;
  /** Effects that have not answered. */
  open: Effect[] = [];
  alive = new Set<number>();
  /** Attempts that the driver was asked to start, each counted once as the driver's key does. */
  launched: number[] = [];
  maxAlive = 0;
  /** An attempt ended with something else than 0, or nobody saw how. */
  badEnd = false;
  violations: string[] = [];

  constructor(spec: DesiredInstance) {
    this.spec = spec;
    this.state = newInstanceState(spec);
  }

  send(event: InstanceEvent): void {
    const next = step(this.state, event);
    this.state = next.state;
    for (const effect of next.effects) this.take(effect);
  }

  take(effect: Effect): void {
    switch (effect.kind) {
      case 'cancel-wait':
        this.open = this.open.filter((each) => each.kind !== 'wait');
        return;
      case 'cancel-work':
        this.open = this.open.filter((each) => each.kind !== 'pack');
        return;
      case 'sweep':
        this.alive.clear();
        return;
      case 'watch':
      case 'clean':
        return;
      case 'prepare':
      case 'launch':
      case 'after-start':
      case 'close':
      case 'wait':
      case 'pack':
        if (this.open.some((each) => each.kind === effect.kind)) this.violations.push(`${effect.kind} twice`);
        this.open.push(effect);
    }
  }

  /** The program is started unless this key was started before. */
  start(): void {
    const { attempt } = this.state;
    if (this.launched.includes(attempt)) return;
    if (this.spec.role !== 'service' && this.badEnd) this.violations.push('started after an end that was not 0');
    this.launched.push(attempt);
    this.alive.add(attempt);
    this.maxAlive = Math.max(this.maxAlive, this.alive.size);
  }

  answer(choice: number, code: number): void {
    const effect = this.open.shift();
    if (effect === undefined) return;
    switch (effect.kind) {
      case 'prepare':
        if (choice % 4 === 0) this.send({ kind: 'not-prepared', final: false, reason: why });
        else this.send({ kind: 'prepared', port: 1, host: 'h', notEnforced: [] });
        return;
      case 'launch':
        // A driver finds by its key what it started before, so then it never says that it could not.
        if (choice % 5 === 0 && !this.launched.includes(this.state.attempt))
          return this.send({ kind: 'not-launched', reason: why, atMs: 1 });
        if (choice % 5 === 1) return this.send({ kind: 'launch-unclear', reason: why });
        this.start();
        if (choice % 5 === 2) this.send({ kind: 'launch-unclear', reason: why });
        else this.send({ kind: 'launched', handle: { key: this.state.attempt }, pid: 1, startedAtMs: 1, notEnforced: [] });
        return;
      case 'after-start':
        return this.send({ kind: 'hooked', attempt: this.state.attempt, atMs: 1, failure: choice % 3 === 0 ? why : null, required: true });
      case 'close':
        this.alive.delete(this.state.attempt);
        return this.send({ kind: 'closed', end: ended(code, null) });
      case 'wait':
        return this.send({ kind: 'due' });
      case 'pack':
        return this.send({ kind: 'packed', output: { digest: 'd', sizeBytes: 1 } });
      case 'sweep':
      case 'watch':
      case 'clean':
      case 'cancel-wait':
      case 'cancel-work':
    }
  }

  /** The program ends by itself and the watch sees it. */
  exit(code: number | null): void {
    if (this.state.activity !== 'up') return;
    this.alive.delete(this.state.attempt);
    this.badEnd ||= code !== 0;
    this.send({ kind: 'ended', attempt: this.state.attempt, end: ended(code), reason: code === 0 ? null : why });
  }

  /** The agent is killed and a new one starts. The program may end meanwhile, seen by nobody or by the keeper. */
  restartAgent(dies: boolean, seen: boolean): void {
    this.state = restoredState(JSON.parse(JSON.stringify(this.state)) as InstanceState); // what the state file does
    this.open = [];
    if (this.state.activity === 'closing') this.open.push({ kind: 'close', alive: false });
    if (this.state.activity !== 'up') return;
    if (!dies) return;
    this.alive.delete(this.state.attempt);
    this.badEnd ||= !seen;
    this.send({ kind: 'ended', attempt: this.state.attempt, end: ended(seen ? 0 : null, null, seen), reason: null });
  }

  /** Lets everything happen that is under way, kindly. */
  settle(): void {
    for (let turn = 0; turn < 200 && this.open.length > 0; turn += 1) this.answer(3, 0);
  }
}

type Action =
  | { readonly kind: 'answer'; readonly choice: number; readonly code: number }
  | { readonly kind: 'exit'; readonly code: number | null }
  | { readonly kind: 'restart-agent'; readonly dies: boolean; readonly seen: boolean }
  | { readonly kind: 'desire'; readonly desired: 'run' | 'stop'; readonly older: boolean }
  | { readonly kind: 'health'; readonly healthy: boolean }
  | { readonly kind: 'cut-off'; readonly value: boolean }
  | { readonly kind: 'broken'; readonly final: boolean }
  | { readonly kind: 'shutdown' }
  | { readonly kind: 'stale' };

const actions = fc.array(
  fc.oneof(
    { weight: 10, arbitrary: fc.record({ kind: fc.constant('answer' as const), choice: fc.nat(60), code: fc.nat(1) }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('exit' as const), code: fc.constantFrom(0, 1, null) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('restart-agent' as const), dies: fc.boolean(), seen: fc.boolean() }) },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constant('desire' as const),
        desired: fc.constantFrom('run' as const, 'stop' as const),
        older: fc.boolean(),
      }),
    },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('health' as const), healthy: fc.boolean() }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('cut-off' as const), value: fc.boolean() }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('broken' as const), final: fc.boolean() }) },
    { weight: 1, arbitrary: fc.constant({ kind: 'shutdown' as const }) },
    { weight: 1, arbitrary: fc.constant({ kind: 'stale' as const }) },
  ),
  { maxLength: 60 },
);

function play(world: World, script: readonly Action[]): void {
  world.send({ kind: 'desired', spec: world.spec });
  for (const action of script) {
    const { attempt } = world.state;
    switch (action.kind) {
      case 'answer':
        world.answer(action.choice, action.code);
        break;
      case 'exit':
        world.exit(action.code);
        break;
      case 'restart-agent':
        world.restartAgent(action.dies, action.seen);
        break;
      case 'desire': {
        const generation = Math.max(0, world.spec.generation + (action.older ? -1 : 1));
        const spec = { ...world.spec, generation, desired: action.desired };
        if (!action.older) world.spec = spec;
        world.send({ kind: 'desired', spec });
        break;
      }
      case 'health':
        world.send(action.healthy ? { kind: 'healthy', attempt, atMs: 1 } : { kind: 'unhealthy', attempt, reason: why });
        break;
      case 'cut-off':
        world.send({ kind: 'cut-off', value: action.value });
        break;
      case 'broken':
        world.send({ kind: 'broken', attempt, final: action.final, reason: why });
        break;
      case 'shutdown':
        world.send({ kind: 'shutdown' });
        break;
      case 'stale':
        world.send({ kind: 'ended', attempt: attempt - 1, end: ended(1), reason: why });
        world.send({ kind: 'healthy', attempt: attempt - 1, atMs: 1 });
    }
    if (world.state.activity === 'done') assert.equal(world.alive.size, 0, 'something lives on after the end');
    assert.ok(world.maxAlive <= 1, 'two attempts were alive at once');
    assert.deepEqual(world.violations, []);
    if (world.state.generation < world.spec.generation && world.state.informed) assert.fail('an older generation was taken');
  }
}

const service = desiredInstance({ hooks: { afterStart: [['warm']], beforeStop: [], required: true } });
const oneOff = desiredOneOff({ commands: [['a'], ['b'], ['c']] });
const build = desiredOneOff({ role: 'build', commands: [['a'], ['b']], packResult: true });
const specs = fc.constantFrom(
  service,
  { ...service, restart: 'on-failure' as const },
  { ...service, restart: 'never' as const },
  oneOff,
  build,
);

test('whatever happens, two attempts of an Instance are never alive at once', () => {
  fc.assert(
    fc.property(specs, actions, (spec, script) => play(new World(spec), script)),
    { numRuns: sized({ usual: 600, full: 2000 }) },
  );
});

test('whatever happens, each command of a one-off is started at most once, in order, and none after an end that is not 0', () => {
  fc.assert(
    fc.property(fc.constantFrom(oneOff, build), actions, (spec, script) => {
      const world = new World(spec);
      play(world, script);
      world.send({ kind: 'desired', spec: world.spec });
      world.settle();
      assert.deepEqual(
        world.launched,
        world.launched.toSorted((a, b) => a - b),
      );
      assert.equal(new Set(world.launched).size, world.launched.length);
      assert.ok(world.launched.length <= spec.commands.length, 'a command ran twice');
    }),
    { numRuns: sized({ usual: 600, full: 2000 }) },
  );
});

test('from every state it comes to rest as stopped or ended when control asks for a stop', () => {
  fc.assert(
    fc.property(specs, actions, fc.boolean(), (spec, script, dropped) => {
      const world = new World(spec);
      play(world, script);
      const generation = world.spec.generation + 1;
      if (dropped) world.send({ kind: 'dropped' });
      else world.send({ kind: 'desired', spec: { ...world.spec, generation, desired: 'stop' } });
      world.settle();
      assert.equal(world.state.activity, 'done');
      assert.equal(world.alive.size, 0);
      assert.equal(world.open.length, 0);
      assert.ok(['stopped', 'succeeded', 'failed', 'unknown'].includes(phaseOf(world.state)));
    }),
    { numRuns: sized({ usual: 600, full: 2000 }) },
  );
});

test('a service that shall run comes up again after everything that ends it, as long as its policy is always', () => {
  fc.assert(
    fc.property(actions, (script) => {
      const world = new World(service);
      play(
        world,
        script.filter((action) => action.kind !== 'broken' && action.kind !== 'shutdown'),
      );
      world.send({ kind: 'cut-off', value: false });
      world.send({ kind: 'desired', spec: { ...world.spec, generation: world.spec.generation + 1, desired: 'run' } });
      world.settle();
      assert.equal(world.state.activity, 'up');
      assert.equal(world.alive.size, 1);
    }),
    { numRuns: sized({ usual: 600, full: 2000 }) },
  );
});

test('after a stop of the platform nothing of a service is alive, and the next agent begins a new attempt', () => {
  const world = new World(desiredInstance({}));
  play(world, []);
  world.settle();
  assert.equal(world.state.attempt, 1);
  world.send({ kind: 'shutdown' });
  world.settle();
  assert.equal(world.alive.size, 0);
  assert.equal(phaseOf(world.state), 'pending');
  world.restartAgent(false, true);
  world.send({ kind: 'desired', spec: world.spec });
  world.settle();
  assert.equal(world.state.attempt, 2);
  assert.equal(world.state.activity, 'up');
});

test('a one-off whose end nobody saw is unknown for good', () => {
  const world = new World(oneOff);
  play(world, []);
  world.answer(3, 0);
  world.answer(3, 0);
  world.restartAgent(true, false);
  world.settle();
  world.send({ kind: 'desired', spec: { ...oneOff, generation: 9 } });
  world.settle();
  assert.equal(phaseOf(world.state), 'unknown');
  assert.equal(world.state.reason?.code, 'outcome_unknown');
  assert.deepEqual(world.launched, [1]);
});

test('ends in quick succession wait longer each time, from 1 s to 60 s, and show as a crash loop from the third on', () => {
  const world = new World(desiredInstance({}));
  play(world, []);
  const waits: number[] = [];
  for (let count = 1; count <= 9; count += 1) {
    while (world.state.activity !== 'up') world.answer(3, 1);
    world.exit(1);
    while (world.open[0]?.kind !== 'wait') world.answer(3, 1);
    waits.push(world.open[0].ms);
    assert.equal(isCrashLoop(world.state), count >= 3);
    assert.equal(phaseOf(world.state), 'backoff');
  }
  assert.deepEqual(waits, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
});

test('a minute of running well ends a crash loop', () => {
  const world = new World(desiredInstance({}));
  play(world, []);
  for (let count = 0; count < 3; count += 1) {
    while (world.state.activity !== 'up') world.answer(3, 1);
    world.exit(1);
  }
  while (world.state.activity !== 'up') world.answer(3, 1);
  world.send({ kind: 'ended', attempt: world.state.attempt, end: ended(1, 60_000), reason: why });
  world.settle();
  assert.equal(isCrashLoop(world.state), false);
  assert.equal(world.state.restarts, 4);
});

test('a required afterStart hook that fails ends the attempt; one that is not required is only told', () => {
  for (const required of [true, false]) {
    const world = new World(service);
    play(world, []);
    while (world.state.activity !== 'up') world.answer(3, 1);
    world.send({ kind: 'healthy', attempt: 1, atMs: 5 });
    assert.equal(phaseOf(world.state), 'starting');
    world.send({ kind: 'hooked', attempt: 1, atMs: 6, failure: why, required });
    assert.equal(world.state.activity, required ? 'closing' : 'up');
    assert.equal(phaseOf(world.state), required ? 'stopping' : 'running');
    assert.deepEqual(world.state.reason, why);
  }
});

test('what comes late from an earlier attempt changes nothing', () => {
  const world = new World(desiredInstance({}));
  play(world, []);
  while (world.state.activity !== 'up') world.answer(3, 1);
  world.exit(1);
  while (world.state.attempt < 2 || world.state.activity !== 'up') world.answer(3, 1);
  const before = world.state;
  world.send({ kind: 'ended', attempt: 1, end: ended(1), reason: why });
  world.send({ kind: 'healthy', attempt: 1, atMs: 1 });
  world.send({ kind: 'unhealthy', attempt: 1, reason: why });
  world.send({ kind: 'broken', attempt: 1, final: true, reason: why });
  assert.equal(world.state, before);
});

test('a build without commands goes from its folder to its result, and an agent that is restarted meanwhile makes it again', () => {
  const spec = desiredOneOff({ role: 'build', commands: [], packResult: true, dockerfile: 'Dockerfile' });
  let state = newInstanceState(spec);
  const send = (event: InstanceEvent): readonly string[] => {
    const next = step(state, event);
    state = next.state;
    return next.effects.map(({ kind }) => kind);
  };
  assert.deepEqual(send({ kind: 'desired', spec }), ['prepare']);
  assert.deepEqual(send({ kind: 'prepared', port: null, host: null, notEnforced: [] }), ['pack']);
  state = restoredState(state);
  assert.deepEqual(send({ kind: 'desired', spec }), ['pack']);
  send({ kind: 'packed', output: { digest: 'sha256:1', sizeBytes: 1 } });
  assert.deepEqual([phaseOf(state), state.attempt], ['succeeded', 0]);
});
