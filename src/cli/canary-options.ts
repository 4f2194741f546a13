// The options that make a canary of a deploy, and the plan that they ask for.

import type { BodyOf } from '../api/endpoint.ts';
import type { ApiTable } from '../api/table.ts';
import { parseCanary } from '../model/canary.ts';
import type { CommandInput } from './command.ts';
import type { OptionSpec } from './option-spec.ts';
import { textOption } from './options.ts';

export type CanaryBody = NonNullable<Extract<BodyOf<ApiTable['deployments']['create']>, { cause: 'deploy' }>['canary']>;

export const CANARY_OPTIONS: readonly OptionSpec[] = [
  {
    name: 'canary',
    value: 'share',
    help: 'try it beside what serves: 10%, header:x-beta=1, cookie:beta, or several with commas; 0% alone: bring it up in full without requests; off: roll out at once, whatever the manifest says',
  },
  { name: 'steps', value: 'list', help: 'shares with their time, promoted at the end: 5%:2m,25%:5m,50%:5m' },
  { name: 'sticky', value: 'what', help: 'one user always sees one version, known by cookie, cookie:NAME, header:NAME or address' },
  { name: 'keep', value: 'time', help: 'so long after the promotion a rollback switches back at once; default 10m for --canary 0%' },
  { name: 'abort-on', value: 'limits', help: 'when it is taken back by itself: errors=2%,latency=2,requests=20 (the defaults), or off' },
];

/** null: no canary; undefined: as the manifest says. Throws `invalid_input`. */
export function canaryOption(input: CommandInput): CanaryBody | null | undefined {
  const plan = parseCanary({
    canary: textOption(input, 'canary'),
    steps: textOption(input, 'steps'),
    sticky: textOption(input, 'sticky'),
    keep: textOption(input, 'keep'),
    abortOn: textOption(input, 'abort-on'),
  });
  if (plan === null || plan === undefined) return plan;
  return {
    ...plan,
    steps: plan.steps.map((step) => ({ ...step })),
    rules: plan.rules.map((rule) => ({ ...rule })),
    abortOn: plan.abortOn === null ? null : { ...plan.abortOn },
  };
}
