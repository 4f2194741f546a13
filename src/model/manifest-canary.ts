// The `rollout` section of a manifest: how every deploy of the App is tried beside what serves. The words are those of the command line.

import type { z } from 'zod';
import { DEFAULT_ABORT, DEFAULT_KEEP_MS, isSwitch, parsePercent, parseRule, parseStep, parseSticky, stepsTrouble } from './canary.ts';
import type { CanaryPlan } from './canary.ts';
import { either, field, list, section } from './manifest-fields.ts';
import { duration, integer } from './manifest-values.ts';

const word = <T>(expected: string, parse: (text: string) => T | null): z.ZodType<T> =>
  field(expected, (value) => (typeof value === 'string' ? (parse(value) ?? undefined) : undefined));

const steps = list(word('a share with its time, such as 5%:2m', parseStep), 'steps', 20).check((context) => {
  const trouble = stepsTrouble(context.value);
  if (trouble !== null) context.issues.push({ code: 'custom', message: trouble, path: [], input: context.value });
});

const abortOn = either(
  field('false, or a mapping', (value) => (value === false ? value : undefined)),
  section({
    errorRate: word('a share such as 2%', parsePercent).optional(),
    latency: field('a number from 1 to 1000', (value) =>
      typeof value === 'number' && value >= 1 && value <= 1000 ? value : undefined,
    ).optional(),
    requests: integer(1, 1_000_000).optional(),
  }),
);

const canarySection = section({
  steps,
  match: list(word('header:NAME=value or cookie:NAME=value', parseRule), 'rules', 20).optional(),
  sticky: word('cookie, cookie:NAME, header:NAME or address', parseSticky).optional(),
  keep: duration().optional(),
  abortOn: abortOn.optional(),
});

export const rolloutSection = section({ canary: canarySection.optional() });

export function completeRollout(input: z.output<typeof rolloutSection> | undefined): CanaryPlan | null {
  const canary = input?.canary;
  if (canary === undefined) return null;
  const limits = canary.abortOn === undefined || canary.abortOn === false ? {} : canary.abortOn;
  const plan: CanaryPlan = {
    steps: canary.steps,
    rules: canary.match ?? [],
    sticky: canary.sticky ?? null,
    abortOn:
      canary.abortOn === false
        ? null
        : {
            errorRate: limits.errorRate === undefined ? DEFAULT_ABORT.errorRate : limits.errorRate / 100,
            latency: limits.latency ?? DEFAULT_ABORT.latency,
            requests: limits.requests ?? DEFAULT_ABORT.requests,
          },
    keepMs: 0,
  };
  return { ...plan, keepMs: canary.keep ?? (isSwitch(plan) ? DEFAULT_KEEP_MS : 0) };
}
