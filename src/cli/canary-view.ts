// A canary as people read it: its share, what comes next and when, and both versions' figures under each other.

import type { DeploymentView } from './follow-deployment.ts';
import { formatDuration } from './output.ts';

type Canary = NonNullable<DeploymentView['canary']>;
type Figures = Canary['figures'][number]['stable'];

export function canaryLines(canary: Canary, nowMs: number): readonly string[] {
  const shares = canary.steps
    .map((step) => `${step.percent} %${step.holdMs === null ? '' : ` for ${formatDuration(step.holdMs)}`}`)
    .join(', ');
  const plan = [`canary: ${shares}`, ...canary.rules, ...(canary.sticky === null ? [] : [`sticky by ${canary.sticky}`])].join(', ');
  const lines = [plan];
  if (canary.promoted) lines.push('promoted');
  else {
    const step = canary.step === null ? 'set by hand' : `step ${canary.step} of ${canary.steps.length}`;
    const next =
      canary.nextAtMs === null
        ? canary.waits
          ? 'waits for libra promote or libra abort'
          : `on its way to ${canary.percent} %`
        : `next in ${formatDuration(Math.max(0, canary.nextAtMs - nowMs))}`;
    lines.push(`${canary.percentInForce} % of the requests (${step}), ${next}`);
  }
  for (const { entrypoint, windowMs, stable, candidate } of canary.figures) {
    lines.push(`${entrypoint}, last ${formatDuration(windowMs)}:`, `  stable  ${figures(stable)}`, `  canary  ${figures(candidate)}`);
  }
  return lines;
}

function figures({ requests, errorRate, meanMs, p50Ms, p99Ms }: Figures): string {
  if (requests === 0) return 'no requests';
  const failed = `${requests} requests, ${Math.round((errorRate ?? 0) * 1000) / 10} % failed`;
  return meanMs === null ? failed : `${failed}, mean ${ms(meanMs)}, p50 ${ms(p50Ms ?? 0)}, p99 ${ms(p99Ms ?? 0)}`;
}

function ms(value: number): string {
  return `${value < 10 ? Math.round(value * 10) / 10 : Math.round(value)} ms`;
}
