// Follows a Deployment to its end and tells it: a numbered line per finished step, one moving line for the running one, and at a
// failure the cause, the last output and the command to go on. Every verb that makes a Deployment ends here.

import type { ReplyOf } from '../api/endpoint.ts';
import type { ApiTable } from '../api/table.ts';
import { Failure, isFailure } from '../lib/failure.ts';
import { FINAL_DEPLOYMENT_PHASES } from '../model/documents.ts';
import type { CommandContext } from './command.ts';
import { formatDuration, printable } from './output.ts';
import { confirm } from './prompt.ts';

export type DeploymentView = ReplyOf<ApiTable['deployments']['get']>;

const STEP_NAMES: Readonly<Record<DeploymentView['steps'][number]['name'], string>> = {
  build: 'Build',
  'before-deploy': 'Before deploy',
  canary: 'Canary',
  start: 'Start',
  drain: 'Drain',
  return: 'Return',
};
const NAME_COLUMNS = Math.max(...Object.values(STEP_NAMES).map((name) => name.length));

/** Whether nothing happens to it any more, or nothing until somebody says so. */
const isOver = (view: DeploymentView): boolean => FINAL_DEPLOYMENT_PHASES.has(view.phase) || view.canary?.waits === true;

const placeOf = (view: DeploymentView): string =>
  `--app ${view.app}${view.environment === 'production' ? '' : ` --environment ${view.environment}`}`;

/** Prints what has newly ended; returns how many steps were printed in all. */
function printSteps(context: CommandContext, view: DeploymentView, printed: number): number {
  const { output } = context;
  const told = view.steps.filter((step) => step.state !== 'skipped');
  let count = 0;
  for (const step of told) {
    if (step.state !== 'done' && step.state !== 'failed') break;
    count += 1;
    if (count <= printed) continue;
    const took = step.startedAtMs !== null && step.endedAtMs !== null ? formatDuration(step.endedAtMs - step.startedAtMs) : '';
    const mark = step.state === 'done' ? output.style('green', 'done  ') : output.style('red', 'failed');
    output.line(
      `  ${count}. ${STEP_NAMES[step.name].padEnd(NAME_COLUMNS)} ${mark} ${took.padStart(7)}  ${output.style('dim', printable(step.message))}`.trimEnd(),
    );
  }
  const running = told.find((step) => step.state === 'running');
  if (running !== undefined && !FINAL_DEPLOYMENT_PHASES.has(view.phase)) {
    const since = running.startedAtMs === null ? '' : ` (${formatDuration(context.clock.now() - running.startedAtMs)})`;
    output.progress(`  ${count + 1}. ${STEP_NAMES[running.name]} … ${printable(running.message)}${since}`);
  } else output.progress('');
  return Math.max(printed, count);
}

/** Share of a canary on its way, with its step; null: it is none, or waits (which is told at the end). */
function shareOf({ phase, canary }: DeploymentView): string | null {
  if (phase !== 'canary' || canary === null || canary.nextAtMs === null) return null;
  return `${canary.percentInForce} % of the requests (step ${canary.step ?? 0} of ${canary.steps.length})`;
}

function tellShare(context: CommandContext, view: DeploymentView): void {
  const share = shareOf(view);
  const nextAtMs = view.canary?.nextAtMs ?? null;
  if (share === null || nextAtMs === null) return;
  context.output.progress('');
  context.output.line(`     ${share}, next in ${formatDuration(Math.max(0, nextAtMs - context.clock.now()))}`);
}

/** How a canary that waits stands, and the two ways on. */
function tellCanary(context: CommandContext, view: DeploymentView): void {
  const { percentInForce, rules } = view.canary ?? { percentInForce: 0, rules: [] };
  const share = `${percentInForce} % of the requests${rules.length === 0 ? '' : ` and those with ${rules.join(', ')}`}`;
  context.output.line(
    `  Deployment ${view.number} gets ${share}. Go on with: libra promote ${placeOf(view)}, or take it back: libra abort ${placeOf(view)}`,
  );
}

async function interrupted(context: CommandContext, view: DeploymentView): Promise<'leave' | 'cancel'> {
  if (!context.output.interactive) return 'leave';
  return (await confirm(context, `Cancel Deployment ${view.number} of ${view.app}? Otherwise it goes on without you.`, false))
    ? 'cancel'
    : 'leave';
}

/** What every verb that makes a Deployment prints with --json. */
export interface DeploymentResult {
  readonly app: string;
  readonly environment: string;
  readonly release: number;
  readonly deployment: number;
  readonly status: DeploymentView['phase'];
  readonly url: string | null;
  readonly steps: readonly {
    readonly name: string;
    readonly state: string;
    readonly durationMs: number | null;
    readonly message: string;
  }[];
  readonly reason: DeploymentView['reason'];
  readonly canary: DeploymentView['canary'];
}

export function deploymentResult(view: DeploymentView): DeploymentResult {
  return {
    app: view.app,
    environment: view.environment,
    release: view.release,
    deployment: view.number,
    status: view.phase,
    url: view.url,
    steps: view.steps.map((step) => ({
      name: step.name,
      state: step.state,
      durationMs: step.startedAtMs !== null && step.endedAtMs !== null ? step.endedAtMs - step.startedAtMs : null,
      message: step.message,
    })),
    reason: view.reason,
    canary: view.canary,
  };
}

/** The command that goes on where this one stops. */
const goOn = (view: DeploymentView): string => `libra deployments ${view.number} --follow ${placeOf(view)}`;

/** The platform went away, or cannot write, but the Deployment is not over. */
function lost(error: unknown, view: DeploymentView): unknown {
  if (!isFailure(error, 'unreachable') && !isFailure(error, 'timeout') && !isFailure(error, 'storage_failed')) return error;
  return new Failure(error.code, {
    message: `${error.message} Deployment ${view.number} of ${view.app} may go on; how it ends is not known here.`,
    hint: goOn(view),
    cause: error,
  });
}

function failureOf(view: DeploymentView): Failure {
  const at = `libra logs ${placeOf(view)}`;
  if (view.phase === 'superseded') {
    return new Failure('superseded', {
      message: `Deployment ${view.number} of ${view.app} was superseded by a newer one.`,
      hint: `libra deployments ${placeOf(view)}`,
    });
  }
  if (view.phase === 'canceled')
    return new Failure('canceled', { message: `Deployment ${view.number} of ${view.app} was canceled; what ran before runs on.` });
  const build = view.steps.find((step) => step.name === 'build')?.state === 'failed';
  const { reason } = view;
  const look = reason === null || reason.instanceId === null ? at : `${at} --instance ${reason.instanceId.slice(0, 13)}`;
  return new Failure(build ? 'build_failed' : 'deployment_failed', {
    message: `Deployment ${view.number} of ${view.app} failed: ${reason?.message ?? 'no reason was recorded'}`,
    hint: reason === null || reason.hint === null ? look : `${reason.hint} More: ${look}`,
    details: { reason: reason?.code ?? null, instance: reason?.instanceId ?? null },
  });
}

/**
 * Follows until the Deployment has ended, or waits as a canary. Resolves with its last view when it succeeded or waits; throws `deployment_failed`, `build_failed`,
 * `superseded` or `canceled` otherwise. Ctrl-C asks on a terminal whether to cancel; elsewhere it leaves the Deployment running. `quiet`
 * prints no finished steps and never asks.
 */
export async function followDeployment(
  context: CommandContext,
  first: DeploymentView,
  options: { readonly quiet: boolean } = { quiet: false },
): Promise<DeploymentView> {
  const { output } = context;
  const client = await context.client();
  const params = { app: first.app, environment: first.environment, deployment: String(first.number) };
  let view = first;
  let printed = printSteps(context, view, options.quiet ? Infinity : 0);
  let share = shareOf(view);
  const stop = new AbortController();
  const onInterrupt = (): void => stop.abort(context.signal.reason);
  context.signal.addEventListener('abort', onInterrupt, { once: true });
  if (context.signal.aborted) stop.abort(context.signal.reason);
  const ticker = output.interactive ? setInterval(() => (printed = printSteps(context, view, printed)), 200) : null;
  try {
    if (!isOver(view)) {
      for await (const next of client.deployments.follow({ params, signal: stop.signal })) {
        view = next;
        if (share !== shareOf(view) && !options.quiet) tellShare(context, view);
        share = shareOf(view);
        printed = printSteps(context, view, printed);
        if (isOver(view)) break;
      }
    }
    if (!isOver(view) && !stop.signal.aborted) view = await client.deployments.get({ params });
  } catch (error) {
    if (!stop.signal.aborted) throw lost(error, view);
  } finally {
    if (ticker !== null) clearInterval(ticker);
    context.signal.removeEventListener('abort', onInterrupt);
    output.progress('');
  }
  if (stop.signal.aborted && !isOver(view)) {
    if (options.quiet) throw new Failure('canceled', { message: 'Interrupted.' });
    if ((await interrupted(context, view)) === 'cancel') {
      await client.deployments.cancel({ params });
      output.note('Canceled; what ran before runs on.');
    } else output.note(`Deployment ${view.number} goes on without you. Follow it again with: ${goOn(view)}`);
    throw new Failure('canceled', { message: `Interrupted while following Deployment ${view.number} of ${view.app}.` });
  }
  if (view.phase === 'succeeded') return view;
  if (view.canary?.waits === true) {
    if (!options.quiet) tellCanary(context, view);
    return view;
  }
  if (view.reason !== null && view.reason.lastLines.length > 0) {
    output.note('');
    output.note(
      output.style('dim', `Last output${view.reason.instanceId === null ? '' : ` of Instance ${view.reason.instanceId.slice(0, 13)}`}:`),
    );
    for (const line of view.reason.lastLines) output.note(`  ${printable(line)}`);
    output.note('');
  }
  output.value(deploymentResult(view));
  throw failureOf(view);
}
