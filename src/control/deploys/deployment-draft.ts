// From what somebody asks for (a Release, a rollback, a restart, new values) to the Deployment that it would be. Plan and create share
// it, so that what the plan shows is what the Deployment does.

import { Failure } from '../../lib/failure.ts';
import { checkedPlan } from '../../model/canary.ts';
import type { CanaryPlan } from '../../model/canary.ts';
import type { App, Deployment, DeploymentCause, Environment, Release } from '../../model/documents.ts';
import type { Manifest } from '../../model/manifest-types.ts';
import type { View } from '../../store/view.ts';
import { appRecords, releaseRecords } from '../apps/records.ts';
import { DEFAULT_RUNTIME } from '../cluster/bootstrap.ts';
import { runtimeRecords } from '../cluster/records.ts';
import { NO_VALUES, resolveContent, valuesOf } from './deployment-content.ts';
import type { CurrentValues, DeploymentContent, MissingSecret } from './deployment-content.ts';
import { deploymentRecords, deploymentStatusRecords, environmentRecords } from './records.ts';

export interface DraftDeps {
  readonly view: View;
  readonly resolveValues: (environmentId: string) => CurrentValues;
  /** Whether a Deployment may still be made from this version of a value. */
  readonly isValueAvailable: (valueId: string) => boolean;
}

export interface DeploymentDraft {
  readonly appName: string;
  /** null: it would be made. */
  readonly app: App | null;
  readonly environmentName: string;
  /** null: it would be made. */
  readonly environment: Environment | null;
  readonly runtimeName: string;
  /** null: there is no such Runtime. */
  readonly runtimeId: string | null;
  readonly manifest: Manifest;
  /** null: only a manifest was given. */
  readonly release: Release | null;
  readonly cause: DeploymentCause;
  readonly from: Deployment | null;
  readonly runBeforeDeploy: boolean;
  readonly canary: CanaryPlan | null;
  /** A return to the version whose Instances are still at hand: it takes over as soon as they are its own. */
  readonly promote: boolean;
  readonly content: DeploymentContent;
  readonly missing: readonly MissingSecret[];
  /** Values that an older Deployment was made with and that are no longer kept: `database-url, version 2`. */
  readonly gone: readonly string[];
  /** Drop the overrides of the Environment. */
  readonly reset: boolean;
}

export type Ask =
  | {
      readonly cause: 'deploy';
      readonly manifest: Manifest;
      readonly release: Release | null;
      readonly reset: boolean;
      /** undefined: as the manifest says. */
      readonly canary: CanaryPlan | null | undefined;
    }
  | { readonly cause: 'rollback'; readonly to: number | null; readonly beforeDeploy: boolean }
  | { readonly cause: 'restart' }
  | { readonly cause: 'config' };

/** Throws `not_found` where something that is named does not exist, and `plan_refused` where nothing runs that could be restarted. */
export function draftDeployment(deps: DraftDeps, appName: string, environmentName: string, ask: Ask): DeploymentDraft {
  const { view } = deps;
  const app = view.byName(appRecords, appName)?.document ?? null;
  const environment = app === null ? null : (view.byName(environmentRecords, `${app.id}/${environmentName}`)?.document ?? null);
  const values = environment === null ? NO_VALUES : deps.resolveValues(environment.id);
  const base = { appName, app, environmentName, environment, gone: [], reset: false, canary: null, promote: false };
  if (ask.cause === 'deploy') {
    const runtimeName = ask.manifest.environments[environmentName]?.runtime ?? DEFAULT_RUNTIME;
    return {
      ...base,
      ...runtimeOf(view, environment, runtimeName),
      manifest: ask.manifest,
      release: ask.release,
      cause: 'deploy',
      from: null,
      runBeforeDeploy: true,
      reset: ask.reset,
      canary: ask.canary === null ? null : checkedCanary(ask.canary ?? ask.manifest.canary ?? null),
      ...resolveContent(ask.manifest, environmentName, values),
    };
  }
  if (environment === null) {
    throw new Failure('not_found', {
      message: `The App ${appName} has no Environment ${environmentName}.`,
      hint: '`libra apps` lists Apps with their Environments.',
    });
  }
  const number = ask.cause === 'rollback' ? ask.to : null;
  if (number === null) refuseDuringCanary(view, environment, ask.cause);
  const from = ask.cause === 'rollback' ? rollbackTarget(view, environment, number) : stableOf(view, environment);
  const release = view.get(releaseRecords, from.releaseId)?.document;
  if (release === undefined) {
    throw new Failure('not_found', {
      message: `The Release of Deployment ${from.number} is no longer kept.`,
      hint: 'Deploy from the folder again: libra deploy',
    });
  }
  const shared = { ...base, ...runtimeOf(view, environment, DEFAULT_RUNTIME), manifest: release.manifest, release, cause: ask.cause, from };
  if (ask.cause === 'config') {
    return { ...shared, runBeforeDeploy: false, ...resolveContent(release.manifest, environmentName, values) };
  }
  const content: DeploymentContent = { entrypoints: from.entrypoints, env: from.env, files: from.files };
  const gone = valuesOf(content).filter((value) => !deps.isValueAvailable(value.valueId));
  const atHand = ask.cause === 'rollback' && environment.standby?.deploymentId === from.id;
  return {
    ...shared,
    ...(atHand ? { canary: SWITCH_BACK, promote: true } : {}),
    runBeforeDeploy: ask.cause === 'rollback' && ask.beforeDeploy,
    content,
    missing: [],
    gone: gone.map((value) => `${value.name}, version ${value.version}`),
  };
}

const checkedCanary = (plan: CanaryPlan | null): CanaryPlan | null => (plan === null ? null : checkedPlan(plan));

/** Side by side with nothing to wait for: what was kept is switched to at once. */
const SWITCH_BACK: CanaryPlan = { steps: [{ percent: 0, holdMs: null }], rules: [], sticky: null, abortOn: null, keepMs: 0 };

/** What is made from the serving Deployment would end a canary unasked: who wants that says so. */
function refuseDuringCanary(view: View, environment: Environment, cause: DeploymentCause): void {
  const id = environment.candidateDeploymentId;
  const status = id === null ? undefined : view.get(deploymentStatusRecords, id)?.document;
  if (id === null || status?.phase !== 'canary') return;
  const number = view.get(deploymentRecords, id)?.document.number ?? '';
  const why = {
    rollback: 'It has not taken over, so there is nothing to roll back',
    restart: 'A restart would end it',
    config: 'New values would end it',
    deploy: '',
  };
  throw new Failure('plan_refused', {
    message: `Deployment ${number} is tried as a canary in ${environment.name}. ${why[cause]}.`,
    hint:
      cause === 'rollback'
        ? 'To take it back: libra abort'
        : `First libra promote or libra abort${cause === 'config' ? '; what was set is kept and comes with the next Deployment' : ''}.`,
  });
}

/** An Environment stays where it is; only a new one takes the manifest's Runtime. */
function runtimeOf(
  view: View,
  environment: Environment | null,
  wanted: string,
): { readonly runtimeName: string; readonly runtimeId: string | null } {
  if (environment === null) return { runtimeName: wanted, runtimeId: view.byName(runtimeRecords, wanted)?.document.id ?? null };
  const runtime = view.get(runtimeRecords, environment.runtimeId)?.document;
  return { runtimeName: runtime?.name ?? wanted, runtimeId: runtime?.id ?? null };
}

function stableOf(view: View, environment: Environment): Deployment {
  const id = environment.stableDeploymentId;
  const stable = id === null ? undefined : view.get(deploymentRecords, id)?.document;
  if (stable !== undefined) return stable;
  throw new Failure('plan_refused', {
    message: `Nothing has been deployed to ${environment.name} with success yet.`,
    hint: 'Deploy first: libra deploy',
  });
}

function rollbackTarget(view: View, environment: Environment, to: number | null): Deployment {
  if (to !== null) {
    const found = view.byName(deploymentRecords, `${environment.id}/${to}`)?.document;
    if (found !== undefined) return found;
    throw new Failure('not_found', {
      message: `${environment.name} has no Deployment ${to}, or it is no longer kept.`,
      hint: '`libra deployments` lists them.',
    });
  }
  const stable = stableOf(view, environment);
  const earlier = view
    .by(deploymentRecords, 'environment', environment.id)
    .map(({ document }) => document)
    .filter((one) => one.number < stable.number && view.get(deploymentStatusRecords, one.id)?.document.phase === 'succeeded')
    .sort((a, b) => b.number - a.number)[0];
  if (earlier !== undefined) return earlier;
  throw new Failure('plan_refused', {
    message: `${environment.name} has no earlier Deployment that succeeded.`,
    hint: '`libra deployments` lists them; `libra rollback --to <number>` names one.',
  });
}
