// What a Deployment would change, and why it would be refused. The same function guards the making of Deployments, so that nothing starts
// that the plan refuses.

import type { ReplyOf } from '../../api/endpoint.ts';
import type { ApiTable } from '../../api/table.ts';
import { Failure } from '../../lib/failure.ts';
import { canaryInstances, describeCanary } from '../../model/canary.ts';
import { describeDifferences } from '../../model/differences.ts';
import { effectiveRoutes, routeOf } from '../../model/effective.ts';
import type { RouteSpec } from '../../model/manifest-types.ts';
import { loadPatterns, patternProblem } from '../../model/patterns.ts';
import { patternsOf } from '../../model/route-match.ts';
import { conditionTexts, policyTexts, routeText } from '../../model/route-text.ts';
import { routeUrl } from '../../model/route-url.ts';
import type { RouteConditions } from '../../model/route-match.ts';
import type { Deployment } from '../../model/documents.ts';
import { platformHost } from '../../model/names.ts';
import type { View } from '../../store/view.ts';
import { powersRefused } from '../auth/grants.ts';
import { schedule } from '../scheduler/schedule.ts';
import type { ControlSettings } from '../context.ts';
import { tryFit } from './capacity.ts';
import { authorityProblem } from './client-authority.ts';
import type { Fit } from './capacity.ts';
import type { DeploymentDraft } from './deployment-draft.ts';
import { needsBuild } from '../builds/needs-build.ts';
import { buildRequest } from './placement.ts';
import { roomsOf } from './rooms.ts';
import { deploymentRecords } from './records.ts';

export type PlanReply = ReplyOf<ApiTable['plans']['create']>;
type Refusal = PlanReply['refusals'][number];

interface RouteHolder {
  readonly environmentId: string;
  readonly app: string;
  readonly environment: string;
}

export interface PlanDeps {
  readonly view: View;
  readonly settings: ControlSettings;
  /** Who has a Route that matches the same requests now; null for nobody. */
  readonly routeOwner: (route: RouteConditions) => RouteHolder | null;
  /** Another Environment that asks the clients of this host for certificates of another authority; null for none. */
  readonly otherAuthority: (environmentId: string | null, host: string, authority: string) => RouteHolder | null;
}

/** Before `makePlan`: loads what the patterns of its Routes are judged with. */
export async function preparePlan(draft: DeploymentDraft): Promise<void> {
  const specs = Object.values(draft.content.entrypoints);
  if (specs.some((spec) => (spec.routes ?? []).some((route) => patternsOf(routeOf(route)).length > 0))) await loadPatterns();
}

export function makePlan(deps: PlanDeps, draft: DeploymentDraft): PlanReply {
  const { view } = deps;
  const { environment, content } = draft;
  const overrides = draft.reset || environment === null ? { entrypoints: {} } : environment.overrides;
  const fit: Fit =
    draft.runtimeId === null
      ? { rollouts: [], shortages: [] }
      : tryFit(view, {
          runtimeId: draft.runtimeId,
          environmentName: draft.environmentName,
          environment,
          overrides,
          entrypoints: content.entrypoints,
          build: draft.manifest.build,
          scaleOnly: false,
          beside: besideOf(draft),
        });
  const stable = stableOf(view, draft);
  const routes = routesOf(deps, draft);
  const kept = Object.entries(overrides.entrypoints).flatMap(([name, override]) =>
    override.instances === undefined || content.entrypoints[name] === undefined ? [] : [`${name}: ${instances(override.instances)}`],
  );
  return {
    app: draft.appName,
    environment: draft.environmentName,
    runtime: draft.runtimeName,
    creates: [
      ...(draft.app === null ? [`App ${draft.appName}`] : []),
      ...(environment === null ? [`Environment ${draft.environmentName}`] : []),
    ],
    changes: changesOf(draft, stable, overrides),
    rollouts: fit.rollouts.map(({ spec, instances: count, source, stopFirst, nodes }) => ({
      entrypoint: spec.name,
      instances: count,
      source,
      order: stopFirst === null ? 'start-first' : 'stop-first',
      why: stopFirst ?? 'new Instances are healthy before old ones leave',
      nodes: [...nodes],
    })),
    beforeDeploy: draft.runBeforeDeploy
      ? Object.values(content.entrypoints).flatMap((spec) => (spec.run === 'before-deploy' ? [spec.name] : []))
      : [],
    canary:
      draft.canary === null || stable === null ? null : { description: describeCanary(draft.canary), entrypoints: triedOf(fit, stable) },
    routes: routes.map(({ entrypoint, route }) => ({
      entrypoint,
      host: route.host,
      path: route.path,
      pathType: route.pathType ?? 'prefix',
      conditions: conditionTexts(routeOf(route)),
      policy: policyTexts(route.policy),
      url: routeUrl(deps.settings, route),
    })),
    keptOverrides: kept,
    warnings: warningsOf(draft, fit),
    refusals: [...refusalsOf(deps, draft, fit), ...canaryRefusals(draft, fit, stable), ...routes.flatMap((route) => route.refusal ?? [])],
  };
}

/** Throws what the plan refuses: `no_capacity` where room is all that lacks, else `plan_refused`. */
export function refuseOrGo(plan: PlanReply): void {
  const [first] = plan.refusals;
  if (first === undefined) return;
  const onlyRoom = plan.refusals.every((refusal) => refusal.code === 'no_capacity');
  throw new Failure(onlyRoom ? 'no_capacity' : 'plan_refused', {
    message: plan.refusals.map((refusal) => refusal.message).join(' '),
    hint: first.hint ?? undefined,
    details: { refusals: plan.refusals },
  });
}

/** How many of an Entrypoint's new Instances stand beside all old ones at most; null: as the rollout says. */
function besideOf({ canary, environment }: DeploymentDraft): ((instances: number) => number) | null {
  if (canary === null || (environment?.stableDeploymentId ?? null) === null) return null;
  const most = canary.steps.at(-1)?.percent ?? 0;
  return (instances) => (canary.keepMs > 0 ? instances : canaryInstances(canary, most, instances));
}

/** Entrypoints that get requests and of which two versions can stand side by side. */
function triedOf(fit: Fit, stable: Deployment): string[] {
  return fit.rollouts.flatMap(({ spec, stopFirst }) => {
    const before = stable.entrypoints[spec.name];
    const beside = spec.listens && stopFirst === null && before !== undefined && before.listens && !before.singleton;
    return beside ? [spec.name] : [];
  });
}

function canaryRefusals(draft: DeploymentDraft, fit: Fit, stable: Deployment | null): readonly Refusal[] {
  if (draft.canary === null || stable === null || draft.cause !== 'deploy' || triedOf(fit, stable).length > 0) return [];
  const why = fit.rollouts.flatMap(({ spec, stopFirst }) => (stopFirst === null ? [] : [`${spec.name}: ${stopFirst}`]));
  return [
    {
      code: 'no_canary',
      message: `No Entrypoint of ${draft.appName} can be tried beside its present version: ${why.length === 0 ? 'none gets requests' : why.join('; ')}.`,
      hint: 'Roll it out at once: libra deploy --canary off',
    },
  ];
}

function stableOf(view: View, draft: DeploymentDraft): Deployment | null {
  const id = draft.environment?.stableDeploymentId ?? null;
  return id === null ? null : (view.get(deploymentRecords, id)?.document ?? null);
}

function changesOf(
  draft: DeploymentDraft,
  stable: Deployment | null,
  overrides: { readonly entrypoints: Readonly<Record<string, { readonly instances?: number }>> },
): PlanReply['changes'] {
  const changes: PlanReply['changes'] = describeDifferences(stable, draft.content).map((difference) => ({ ...difference }));
  for (const [name, override] of Object.entries(draft.environment?.overrides.entrypoints ?? {})) {
    if (override.instances === undefined || overrides.entrypoints[name] !== undefined) continue;
    changes.push({ kind: 'remove', path: `overrides.${name}.instances`, from: String(override.instances), to: null });
  }
  return changes;
}

function instances(count: number): string {
  return `${count} ${count === 1 ? 'Instance' : 'Instances'} (libra scale)`;
}

interface PlannedRoute {
  readonly entrypoint: string;
  readonly route: RouteSpec;
  readonly refusal: Refusal | null;
}

function routesOf(deps: PlanDeps, draft: DeploymentDraft): readonly PlannedRoute[] {
  return Object.values(draft.content.entrypoints).flatMap((spec) =>
    spec.run === 'service' && spec.listens
      ? effectiveRoutes(spec, draft.appName, draft.environmentName, deps.settings.domain).map((route): PlannedRoute => {
          const owner = deps.routeOwner(routeOf(route));
          const reserved = route.host.toLowerCase() === platformHost(deps.settings.domain);
          const taken = reserved || (owner !== null && owner.environmentId !== draft.environment?.id);
          const whose = reserved ? 'the platform itself' : `${owner?.app}/${owner?.environment}`;
          const refusal: Refusal = {
            code: 'route_conflict',
            message: `The route ${routeText(routeOf(route))} of ${spec.name} belongs to ${whose}.`,
            hint: 'Give this App another host or path, or take the route from the other one first.',
          };
          return {
            entrypoint: spec.name,
            route,
            refusal: taken ? refusal : (patternRefusal(spec.name, route) ?? authorityRefusal(deps, draft, route)),
          };
        })
      : [],
  );
}

/** Clients are asked for their certificate before it is known which Route of a host they want. */
function authorityRefusal(deps: PlanDeps, draft: DeploymentDraft, route: RouteSpec): Refusal | null {
  const authority = route.policy?.clientCertificates?.authority;
  if (authority === undefined) return null;
  const problem = authorityProblem(authority);
  if (problem !== null)
    return {
      code: 'manifest_invalid',
      message: `The authority of client certificates of ${route.host} cannot be used: ${problem}.`,
      hint: 'It takes the certificate of the authority that signs the certificates of clients, in PEM.',
    };
  const other = deps.otherAuthority(draft.environment?.id ?? null, route.host, authority);
  if (other === null) return null;
  return {
    code: 'route_conflict',
    message: `${other.app}/${other.environment} asks the clients of ${route.host} for certificates of another authority.`,
    hint: 'A host has one: take the same authority, or another host.',
  };
}

/** What is a pattern elsewhere may be none here: the engine of the Edges has the last word. */
function patternRefusal(entrypoint: string, route: RouteSpec): Refusal | null {
  for (const pattern of patternsOf(routeOf(route))) {
    const problem = patternProblem(pattern);
    if (problem !== null)
      return {
        code: 'unsupported',
        message: `The pattern ${pattern} of a Route of ${entrypoint} cannot be used: it ${problem}.`,
        hint: 'Patterns have the syntax of RE2: without looking around and without referring back.',
      };
  }
  return null;
}

function warningsOf(draft: DeploymentDraft, fit: Fit): string[] {
  const warnings: string[] = [];
  if (draft.environment?.stopped === true) warnings.push(`${draft.environmentName} is stopped; this starts it again.`);
  if (draft.environment?.candidateDeploymentId !== null && draft.environment !== null) {
    warnings.push('Another Deployment is still on its way; this one would take over from it.');
  }
  if (draft.canary !== null && (draft.environment?.stableDeploymentId ?? null) === null) {
    warnings.push('Nothing serves yet that it could be tried beside: it is rolled out in full.');
  }
  for (const { spec, stopFirst, instances: count } of fit.rollouts) {
    if (stopFirst !== null && count > 0) warnings.push(`${spec.name} is rolled stop-first, with a gap: ${stopFirst}.`);
    if (count === 0) warnings.push(`${spec.name} has 0 Instances: it is not started, so nothing shows whether it works.`);
  }
  const wanted = draft.manifest.environments[draft.environmentName]?.runtime;
  if (draft.environment !== null && wanted !== null && wanted !== undefined && wanted !== draft.runtimeName) {
    warnings.push(`The manifest names the Runtime ${wanted}, but ${draft.environmentName} is on ${draft.runtimeName} and stays there.`);
  }
  return warnings;
}

function refusalsOf({ view }: PlanDeps, draft: DeploymentDraft, fit: Fit): Refusal[] {
  const refusals: Refusal[] = [];
  const refuse = (code: string, message: string, hint: string | null): void => void refusals.push({ code, message, hint });
  if (draft.app?.state === 'deleting') refuse('deleting', `The App ${draft.appName} is being deleted.`, 'Wait until it is gone.');
  else if (draft.environment?.state === 'deleting') {
    refuse('deleting', `The Environment ${draft.environmentName} is being deleted.`, 'Wait until it is gone.');
  }
  if (draft.runtimeId === null) {
    refuse(
      'no_runtime',
      `There is no Runtime ${draft.runtimeName}.`,
      '`libra runtimes` lists them; `environments.<name>.runtime` of the manifest names it.',
    );
  }
  if (draft.release?.state === 'failed') {
    const why = draft.release.reason?.message ?? 'its build failed';
    refuse('build_failed', `Release ${draft.release.number} cannot run: ${why}`, draft.release.reason?.hint ?? null);
  }
  const secrets = new Map<string, string[]>();
  for (const { secret, where } of draft.missing) secrets.set(secret, [...(secrets.get(secret) ?? []), where]);
  for (const [secret, places] of secrets) {
    refuse(
      'missing_secret',
      `The Secret ${secret} is not set (needed by ${places.slice(0, 5).join(', ')}).`,
      `${draft.app === null ? `libra apps create ${draft.appName}, then ` : ''}libra secrets set ${secret} --app ${draft.appName} --environment ${draft.environmentName}`,
    );
  }
  for (const value of draft.gone) {
    refuse(
      'value_gone',
      `The value ${value}, which that Deployment ran with, is no longer kept.`,
      'Set it anew and deploy the Release instead of rolling back.',
    );
  }
  for (const spec of Object.values(draft.content.entrypoints))
    for (const { message, hint } of powersRefused(view, draft, spec)) refuse('not_allowed', message, hint);
  for (const { code, message, hint } of fit.shortages) refuse(code, message, hint);
  const { build } = draft.manifest;
  if (needsBuild(build) && draft.runtimeId !== null && draft.release?.state !== 'ready') {
    const [unplaced] = schedule(roomsOf(view, draft.runtimeId), [buildRequest('build', build)]).unplaced;
    if (unplaced !== undefined) refuse(unplaced.code, `The build finds no Node. ${unplaced.message}`, unplaced.hint);
  }
  return refusals;
}
