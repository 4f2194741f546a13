import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Failure, isFailure } from '../lib/failure.ts';
import type { ApiClient } from './api-client.ts';
import { createTestContext } from './cli-fixture.ts';
import type { TestContext } from './cli-fixture.ts';
import { deploymentResult, followDeployment } from './follow-deployment.ts';
import type { DeploymentView } from './follow-deployment.ts';

const base: DeploymentView = {
  id: '0190',
  app: 'shop',
  environment: 'production',
  number: 7,
  release: 3,
  label: null,
  cause: 'deploy',
  fromNumber: null,
  phase: 'rolling',
  stable: false,
  canary: null,
  steps: [
    { name: 'before-deploy', state: 'skipped', startedAtMs: null, endedAtMs: null, message: '' },
    { name: 'start', state: 'running', startedAtMs: 0, endedAtMs: null, message: 'web 0 of 2 healthy' },
    { name: 'drain', state: 'pending', startedAtMs: null, endedAtMs: null, message: '' },
  ],
  reason: null,
  log: [],
  url: 'http://shop.localhost',
  createdAtMs: 0,
  createdBy: 'owner',
  endedAtMs: null,
};

const started = { name: 'start', state: 'done', startedAtMs: 0, endedAtMs: 1500, message: 'web 2 of 2 healthy' } as const;
const drained = { name: 'drain', state: 'done', startedAtMs: 1500, endedAtMs: 1600, message: 'no old Instance is left' } as const;
const draining: DeploymentView = { ...base, phase: 'draining', steps: [started, { ...drained, state: 'running', endedAtMs: null }] };
const succeeded: DeploymentView = { ...base, phase: 'succeeded', stable: true, steps: [started, drained], endedAtMs: 1600 };
const failed: DeploymentView = {
  ...base,
  phase: 'failed',
  steps: [{ ...started, state: 'failed' }],
  reason: {
    code: 'exited',
    message: 'web ended with exit code 3.',
    hint: 'Its last lines tell more.',
    lastLines: ['Error: no module', 'red\u001b[31m'],
    instanceId: '01a1fc34-3058-7000-8000-000000000000',
  },
};

interface Script {
  readonly views?: readonly DeploymentView[];
  /** What the stream ends with. */
  readonly ends?: 'end' | 'hang' | Failure;
  readonly last?: DeploymentView;
}

function scripted(script: Script): { readonly client: ApiClient; readonly canceled: string[] } {
  const canceled: string[] = [];
  const deployments = {
    async *follow(input: { readonly signal: AbortSignal }): AsyncGenerator<DeploymentView> {
      yield* script.views ?? [];
      if (script.ends instanceof Failure) throw script.ends;
      if (script.ends === 'hang')
        await new Promise<never>((_, reject) => {
          input.signal.addEventListener('abort', () => reject(input.signal.reason as Error /* as the real stream does */));
        });
    },
    get: async () => script.last ?? succeeded,
    cancel: async ({ params }: { readonly params: { readonly deployment: string } }) => {
      canceled.push(params.deployment);
      return base;
    },
  };
  return { client: { deployments } as unknown as ApiClient, canceled }; // the rest is not called
}

function follow(
  script: Script,
  options: { readonly terminal?: boolean; readonly json?: boolean } = {},
): TestContext & {
  readonly outcome: Promise<DeploymentView>;
  readonly canceled: string[];
} {
  const { client, canceled } = scripted(script);
  const test = createTestContext({ ...options, client });
  return { ...test, canceled, outcome: followDeployment(test.context, base) };
}

describe('following a Deployment', () => {
  test('prints one numbered line per finished step, skipped ones left out, and resolves when it serves', async () => {
    const { outcome, stdout, stderr } = follow({ views: [base, draining, draining, succeeded] });
    assert.equal((await outcome).phase, 'succeeded');
    assert.equal(
      stdout(),
      ['  1. Start         done     1.5 s  web 2 of 2 healthy', '  2. Drain         done     0.1 s  no old Instance is left', ''].join(
        '\n',
      ),
    );
    assert.equal(stderr(), '');
  });

  test('tells each share of a canary once, and ends where it waits for somebody', async () => {
    const canary: NonNullable<DeploymentView['canary']> = {
      steps: [
        { percent: 5, holdMs: 60_000 },
        { percent: 50, holdMs: null },
      ],
      rules: ['header:x-beta=1'],
      sticky: null,
      keepMs: 0,
      step: 1,
      percent: 5,
      percentInForce: 5,
      promoted: false,
      nextAtMs: 60_000,
      waits: false,
      figures: [],
    };
    const steps = [{ name: 'canary', state: 'running', startedAtMs: 0, endedAtMs: null, message: 'starting' } as const];
    const first: DeploymentView = { ...base, phase: 'canary', steps, canary };
    const waits: DeploymentView = {
      ...first,
      canary: { ...canary, step: 2, percent: 50, percentInForce: 50, nextAtMs: null, waits: true },
    };
    const { outcome, stdout } = follow({ views: [first, first, waits], ends: 'hang' });
    assert.equal((await outcome).phase, 'canary');
    const lines = stdout().trimEnd().split('\n');
    assert.equal(lines.length, 2);
    assert.match(lines[0] ?? '', /^ {5}5 % of the requests \(step 1 of 2\), next in /u);
    assert.equal(
      lines[1],
      '  Deployment 7 gets 50 % of the requests and those with header:x-beta=1. Go on with: libra promote --app shop, or take it back: libra abort --app shop',
    );
    assert.equal(deploymentResult(waits).status, 'canary');
  });

  test('asks for the state where the stream ended before the Deployment did', async () => {
    const { outcome } = follow({ views: [draining], ends: 'end', last: succeeded });
    assert.equal((await outcome).phase, 'succeeded');
  });

  test('fails with the cause, the last output and the command to go on', async () => {
    const { outcome, stderr } = follow({ views: [failed] });
    await assert.rejects(outcome, (error) => {
      assert.ok(isFailure(error, 'deployment_failed'));
      assert.equal(error.message, 'Deployment 7 of shop failed: web ended with exit code 3.');
      assert.equal(error.hint, 'Its last lines tell more. More: libra logs --app shop --instance 01a1fc34-3058');
      return true;
    });
    assert.match(stderr(), /Last output of Instance 01a1fc34-3058:\n {2}Error: no module\n {2}red\ufffd\[31m\n/u);
  });

  test('tells a failed build, a superseded and a canceled Deployment apart', async () => {
    const build = { ...failed, steps: [{ ...started, name: 'build', state: 'failed' } as const] };
    await assert.rejects(follow({ views: [build] }).outcome, (error) => isFailure(error, 'build_failed'));
    await assert.rejects(follow({ views: [{ ...base, phase: 'superseded' }] }).outcome, (error) => isFailure(error, 'superseded'));
    await assert.rejects(follow({ views: [{ ...base, phase: 'canceled' }] }).outcome, (error) => isFailure(error, 'canceled'));
  });

  test('prints the outcome of a failure as one JSON value with --json', async () => {
    const { outcome, stdout, stderr } = follow({ views: [draining, failed] }, { json: true });
    await assert.rejects(outcome);
    assert.deepEqual(JSON.parse(stdout()), JSON.parse(JSON.stringify(deploymentResult(failed))));
    assert.equal(stderr(), '');
  });

  test('does not call a Deployment failed when only the platform went away', async () => {
    const { outcome } = follow({ views: [draining], ends: new Failure('unreachable', { message: 'The platform does not answer.' }) });
    await assert.rejects(outcome, (error) => {
      assert.ok(isFailure(error, 'unreachable'));
      assert.match(error.message, /Deployment 7 of shop may go on/u);
      assert.equal(error.hint, 'libra deployments 7 --follow --app shop');
      return true;
    });
  });

  test('leaves it running at Ctrl-C where nobody can be asked, and says how to follow it again', async () => {
    const { outcome, interrupt, stderr, canceled } = follow({ views: [draining], ends: 'hang' });
    setImmediate(() => interrupt.abort(new Error('SIGINT')));
    await assert.rejects(outcome, (error) => isFailure(error, 'canceled'));
    assert.match(stderr(), /goes on without you\. Follow it again with: libra deployments 7 --follow --app shop/u);
    assert.deepEqual(canceled, []);
  });

  test('asks at Ctrl-C on a terminal, and cancels only on yes', { timeout: 10_000 }, async () => {
    for (const [key, expected] of [
      ['y', ['7']],
      ['n', []],
    ] as const) {
      const { outcome, interrupt, stderr, input, canceled } = follow({ views: [draining], ends: 'hang' }, { terminal: true });
      setImmediate(() => interrupt.abort(new Error('SIGINT')));
      const ended = assert.rejects(outcome, (error) => isFailure(error, 'canceled'));
      while (!stderr().includes('Cancel Deployment 7')) await new Promise((resolve) => setImmediate(resolve));
      input.write(key);
      await ended;
      assert.deepEqual(canceled, expected);
    }
  });

  test('shows a moving line on a terminal only', async () => {
    const onTerminal = follow({ views: [base, succeeded] }, { terminal: true });
    await onTerminal.outcome;
    assert.match(onTerminal.stderr(), /1\. Start … web 0 of 2 healthy/u);
  });
});
