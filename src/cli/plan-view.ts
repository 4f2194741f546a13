// A plan as people read it: what would be made, what would change, how, what stays.

import type { ReplyOf } from '../api/endpoint.ts';
import type { ApiTable } from '../api/table.ts';
import { Failure } from '../lib/failure.ts';
import type { FailureCode } from '../lib/failure.ts';
import { FAILURE_CODES } from '../lib/failure.ts';
import { placeText } from '../model/route-text.ts';
import { counted, printable } from './output.ts';
import type { Output } from './output.ts';

export type PlanView = ReplyOf<ApiTable['plans']['create']>;

const MARKS = { add: ['green', '+'], change: ['yellow', '~'], remove: ['red', '-'] } as const;

export function printPlan(output: Output, plan: PlanView): void {
  for (const made of plan.creates) output.line(`  ${output.style('green', '+')} ${made}`);
  for (const change of plan.changes) {
    const [color, mark] = MARKS[change.kind];
    const values = change.kind === 'change' ? `${change.from ?? ''} → ${change.to ?? ''}` : (change.to ?? change.from ?? '');
    output.line(`  ${output.style(color, mark)} ${printable(change.path)}  ${printable(values)}`.trimEnd());
  }
  if (plan.creates.length + plan.changes.length === 0) output.line('  No differences to what runs; Instances are renewed all the same.');
  for (const rollout of plan.rollouts) {
    const count = counted(rollout.instances, 'Instance');
    output.line(
      `  ${rollout.entrypoint}: ${count}${rollout.source === 'override' ? ' (set by libra scale)' : ''}, ${rollout.order} ${output.style('dim', `(${rollout.why})`)}`,
    );
  }
  if (plan.canary !== null)
    output.line(`  canary: ${plan.canary.description} ${output.style('dim', `(${plan.canary.entrypoints.join(', ')})`)}`);
  for (const entrypoint of plan.beforeDeploy) output.line(`  runs ${entrypoint} first`);
  for (const kept of plan.keptOverrides) output.line(`  ${output.style('dim', `keeps ${kept} (--reset drops it)`)}`);
  for (const warning of plan.warnings) output.warn(warning);
}

/** One line for each Route: what can be opened as its URL, what cannot as what it asks; and what it does. */
export function printRoutes(output: Output, routes: PlanView['routes']): void {
  for (const route of routes) {
    const opens = route.pathType !== 'pattern' && !route.host.startsWith('*');
    const texts = [...route.conditions, ...route.policy];
    const notes = texts.length === 0 ? '' : ` ${output.style('dim', `(${printable(texts.join(', '))})`)}`;
    output.line(`  ${printable(opens ? route.url : placeText(route))} → ${route.entrypoint}${notes}`);
  }
}

/** Throws when the plan cannot be carried out, with every reason. */
export function refuseIfNeeded(plan: PlanView): void {
  const [first, ...rest] = plan.refusals;
  if (first === undefined) return;
  const code = first.code in FAILURE_CODES ? (first.code as FailureCode) /* just looked up in the table */ : 'plan_refused';
  throw new Failure(code, {
    message: first.message,
    hint: first.hint ?? undefined,
    details:
      rest.length === 0
        ? {}
        : { problems: rest.map((refusal) => (refusal.hint === null ? refusal.message : `${refusal.message} ${refusal.hint}`)) },
  });
}
