// Deployments as the API offers them: plan, make, list, follow, cancel. Making one is a single commit of Deployment, status and the
// Environment that points at it; what the plan refuses is never begun.

import { setImmediate } from 'node:timers/promises';
import type { table } from '../../api/table.ts';
import { Failure, isFailure } from '../../lib/failure.ts';
import { newId } from '../../lib/id.ts';
import { FINAL_DEPLOYMENT_PHASES } from '../../model/documents.ts';
import { formatPercent } from '../../model/canary.ts';
import type { CanaryProgress, Deployment, DeploymentStatus, Environment, Release } from '../../model/documents.ts';
import { formatProblem, parseManifest } from '../../model/manifest.ts';
import type { Manifest } from '../../model/manifest-types.ts';
import type { Operation, Stored } from '../../store/collection.ts';
import { create, guard, update } from '../../store/records.ts';
import { isLostRace } from '../../store/view.ts';
import { appRecords, releaseRecords } from '../apps/records.ts';
import type { ControlContext } from '../context.ts';
import type { Call, NounHandlers, StreamItem } from '../handler.ts';
import { findApp, findEnvironment } from '../lookup.ts';
import { pageOf } from '../server-page.ts';
import { createWakeup } from '../wakeup.ts';
import { draftDeployment } from './deployment-draft.ts';
import type { Ask, DeploymentDraft, DraftDeps } from './deployment-draft.ts';
import { makePlan, preparePlan, refuseOrGo } from './plan.ts';
import type { PlanDeps } from './plan.ts';
import { newEnvironment } from './environments.ts';
import { deploymentRecords, deploymentStatusRecords, environmentRecords } from './records.ts';
import { deploymentReply } from './replies.ts';
import type { DeploymentReply, DeploymentReplyDeps } from './replies.ts';
import { initialProgress, takeOver } from './rollout-canary.ts';
import { initialStatus, withLog } from './rollout-status.ts';
import { supersededStatus } from './rollout.ts';

export interface DeploymentHandlers {
  readonly plans: NounHandlers<typeof table.plans>;
  readonly deployments: NounHandlers<typeof table.deployments>;
}

type Deps = DraftDeps & PlanDeps & DeploymentReplyDeps;
type CreateCall = Call<typeof table.deployments.create>;

const PING_MS = 15_000;
const CREATE_ATTEMPTS = 10;

export function createDeploymentHandlers(context: ControlContext, deps: Deps): DeploymentHandlers {
  const { view, clock } = context;

  const releaseOf = (appName: string, number: number): Release => {
    const app = findApp(view, appName).document;
    const release = view.byName(releaseRecords, `${app.id}/${number}`)?.document;
    if (release !== undefined) return release;
    throw new Failure('not_found', { message: `The App ${appName} has no Release ${number}.`, hint: `libra releases --app ${appName}` });
  };

  const find = (app: string, environmentName: string, number: string): Stored<Deployment> => {
    const { environment } = findEnvironment(view, app, environmentName);
    const found = /^\d{1,9}$/u.test(number) ? view.byName(deploymentRecords, `${environment.document.id}/${Number(number)}`) : undefined;
    if (found !== undefined) return found;
    throw new Failure('not_found', {
      message: `${app}/${environmentName} has no Deployment ${number.slice(0, 20)}.`,
      hint: `libra deployments --app ${app} --environment ${environmentName}`,
    });
  };

  const askOf = (call: CreateCall): Ask => {
    if (call.body.cause !== 'deploy') return call.body;
    const release = releaseOf(call.params.app, call.body.release);
    return { cause: 'deploy', manifest: release.manifest, release, reset: call.body.reset, canary: call.body.canary };
  };

  /** The newer one takes over: what is unfinished ends visibly in the same commit. */
  const settleCandidate = (environment: Environment | undefined): readonly Operation[] => {
    const id = environment?.candidateDeploymentId ?? null;
    const stored = id === null ? undefined : view.get(deploymentStatusRecords, id);
    if (stored === undefined || FINAL_DEPLOYMENT_PHASES.has(stored.document.phase)) return [];
    return [update(deploymentStatusRecords, stored, supersededStatus(stored.document, clock.now()))];
  };

  const environmentOperation = (draft: DeploymentDraft, deployment: Deployment, runtimeId: string): Operation => {
    const stored = draft.environment === null ? undefined : view.get(environmentRecords, draft.environment.id);
    if (stored === undefined) {
      const { environmentId: id, appId, createdAtMs } = deployment;
      const made = newEnvironment({ id, appId, name: draft.environmentName, runtimeId, createdAtMs });
      return create(environmentRecords, { ...made, candidateDeploymentId: deployment.id, lastDeployment: deployment.number });
    }
    const candidateId = stored.document.candidateDeploymentId;
    const old = candidateId === null ? undefined : view.get(deploymentStatusRecords, candidateId)?.document;
    return update(environmentRecords, stored, {
      ...stored.document,
      ...takeOver(stored.document, old ?? null, deployment),
      generation: stored.document.generation + 1,
      candidateDeploymentId: deployment.id,
      lastDeployment: deployment.number,
      overrides: draft.reset ? { entrypoints: {} } : stored.document.overrides,
      stopped: false,
      ...(stored.document.stopped ? { resumedAtMs: deployment.createdAtMs } : {}),
    });
  };

  let before: Promise<unknown> = Promise.resolve();
  /** A hundred that come at the same moment are planned one by one, so that whoever else has something to do is heard in between. */
  const inTurn = async (): Promise<void> => {
    before = before.then(() => setImmediate());
    await before;
  };

  const make = async (call: CreateCall): Promise<Deployment> => {
    await inTurn();
    const draft = draftDeployment(deps, call.params.app, call.params.environment, askOf(call));
    await preparePlan(draft);
    refuseOrGo(makePlan(deps, draft));
    const { app, release, runtimeId } = draft;
    const storedApp = app === null ? undefined : view.get(appRecords, app.id);
    if (storedApp === undefined || release === null || runtimeId === null) {
      throw new Failure('not_found', { message: `There is no App ${call.params.app}.` });
    }
    const nowMs = clock.now();
    const deployment: Deployment = {
      id: call.recordId ?? newId(nowMs, context.random),
      appId: storedApp.document.id,
      environmentId: draft.environment?.id ?? newId(nowMs, context.random),
      releaseId: release.id,
      number: (draft.environment?.lastDeployment ?? 0) + 1,
      cause: draft.cause,
      fromDeploymentId: draft.from?.id ?? null,
      runBeforeDeploy: draft.runBeforeDeploy,
      canary: draft.canary,
      ...draft.content,
      createdAtMs: nowMs,
      createdBy: call.principal.name,
    };
    const status: DeploymentStatus = initialStatus({
      id: deployment.id,
      environmentId: deployment.environmentId,
      nowMs,
      building: release.state === 'building',
      beforeDeploy: draft.runBeforeDeploy && Object.values(draft.content.entrypoints).some((spec) => spec.run === 'before-deploy'),
      canary: initialProgress(draft.canary, draft.promote),
      message: describe(draft, release, call.principal.name),
    });
    await view.commit(
      create(deploymentRecords, deployment),
      create(deploymentStatusRecords, status),
      environmentOperation(draft, deployment, runtimeId),
      ...settleCandidate(draft.environment ?? undefined),
      guard(appRecords, storedApp),
    );
    context.event({
      level: 'info',
      kind: 'deployment.created',
      message: `Deployment ${deployment.number} of ${draft.appName}/${draft.environmentName}: ${status.log[0]?.message ?? ''}`,
      subject: { appId: deployment.appId, environmentId: deployment.environmentId, deploymentId: deployment.id },
    });
    return deployment;
  };

  async function* follow(
    deployment: Deployment,
    lastEventId: string | null,
    signal: AbortSignal,
  ): AsyncGenerator<StreamItem<DeploymentReply>> {
    const wakeup = createWakeup(clock);
    const unsubscribe = view.onChange((changed) => {
      if (changed.get(deploymentStatusRecords.name)?.has(deployment.id) === true) wakeup.wake();
      if (changed.get(environmentRecords.name)?.has(deployment.environmentId) === true) wakeup.wake();
    });
    let known = lastEventId;
    try {
      while (!signal.aborted) {
        const stored = view.get(deploymentRecords, deployment.id);
        if (stored === undefined) return;
        const reply = deploymentReply(deps, stored.document);
        const id = eventId(reply, view.get(deploymentStatusRecords, deployment.id)?.document);
        if (id !== known) yield { id, data: reply };
        known = id;
        if (FINAL_DEPLOYMENT_PHASES.has(reply.phase)) return;
        const woken = await wakeup.wait(PING_MS, signal);
        const trouble = view.trouble();
        // It would be followed without a word for as long as that lasts.
        if (!woken && !signal.aborted && trouble !== null)
          throw new Failure('storage_failed', {
            message: `Deployment ${deployment.number} cannot go on: ${trouble.message}`,
            hint: trouble.hint,
            cause: trouble,
          });
      }
    } finally {
      unsubscribe();
    }
  }

  return {
    plans: {
      create: async (call) => {
        const { body } = call;
        if (body.manifest !== null) {
          const manifest = readManifest(body.manifest);
          const ask: Ask = { cause: 'deploy', manifest, release: null, reset: body.reset, canary: body.canary };
          const draft = draftDeployment(deps, manifest.app, body.environment, ask);
          await preparePlan(draft);
          return makePlan(deps, draft);
        }
        if (body.app === null || body.release === null) {
          throw new Failure('invalid_input', {
            message: 'A plan needs the text of a manifest, or the name of an App and the number of a Release.',
          });
        }
        const release = releaseOf(body.app, body.release);
        const ask: Ask = { cause: 'deploy', manifest: release.manifest, release, reset: body.reset, canary: body.canary };
        const draft = draftDeployment(deps, body.app, body.environment, ask);
        await preparePlan(draft);
        return makePlan(deps, draft);
      },
    },
    deployments: {
      list: async (call) => {
        const { environment } = findEnvironment(view, call.params.app, call.params.environment);
        const newestFirst = view
          .by(deploymentRecords, 'environment', environment.document.id)
          .map(({ document }) => document)
          .sort((a, b) => b.number - a.number);
        const page = pageOf(newestFirst, call.query, { list: 'deployments', keyOf: (one) => numberKey(one.number), order: 'descending' });
        return { items: page.items.map((one) => deploymentReply(deps, one)), next: page.next };
      },
      create: async (call) => {
        for (let attempt = 1; ; attempt += 1) {
          const made = call.recordId === undefined ? undefined : view.get(deploymentRecords, call.recordId);
          if (made !== undefined) return deploymentReply(deps, made.document);
          try {
            return deploymentReply(deps, await make(call));
          } catch (error) {
            // Another one took the number, or the rollout wrote the same Environment; what is asked for does not depend on either.
            const raced = isLostRace(error) || isFailure(error, 'exists');
            if (!raced || attempt >= CREATE_ATTEMPTS) throw error;
          }
        }
      },
      get: async (call) => deploymentReply(deps, find(call.params.app, call.params.environment, call.params.deployment).document),
      follow: (call) => {
        const { document } = find(call.params.app, call.params.environment, call.params.deployment);
        return follow(document, call.lastEventId, call.signal);
      },
      promote: async (call) => {
        const { document: deployment } = find(call.params.app, call.params.environment, call.params.deployment);
        const stored = view.get(deploymentStatusRecords, deployment.id);
        const canary = stored?.document.canary;
        const phase = stored?.document.phase ?? 'failed';
        const open = phase === 'waiting' || phase === 'before-deploy' || phase === 'canary';
        if (stored === undefined || canary === undefined || canary === null || !open) {
          throw new Failure('conflict', {
            message: `Deployment ${deployment.number} is not tried as a canary${canary === undefined || canary === null ? '' : ` any more: it is ${phase}`}.`,
            hint: 'libra deployments',
          });
        }
        const { percent } = call.body;
        if (canary.promote) return deploymentReply(deps, deployment);
        const next: CanaryProgress =
          percent === null ? { ...canary, promote: true } : { ...canary, step: null, percent, inForceSinceMs: null };
        const what = percent === null ? 'promoted it' : `set its share to ${formatPercent(percent)}`;
        const status = withLog(
          { ...stored.document, canary: next, progress: {}, updatedAtMs: clock.now() },
          clock.now(),
          `${call.principal.name} ${what}.`,
        );
        await view.commit(update(deploymentStatusRecords, stored, status));
        const subject = { appId: deployment.appId, environmentId: deployment.environmentId, deploymentId: deployment.id };
        context.event({
          level: 'info',
          kind: 'deployment.promoted',
          message: `Deployment ${deployment.number}: ${call.principal.name} ${what}`,
          subject,
        });
        return deploymentReply(deps, deployment);
      },
      cancel: async (call) => {
        const { document: deployment } = find(call.params.app, call.params.environment, call.params.deployment);
        const stored = view.get(deploymentStatusRecords, deployment.id);
        const phase = stored?.document.phase ?? 'failed';
        if (stored === undefined || FINAL_DEPLOYMENT_PHASES.has(phase) || phase === 'draining') {
          throw new Failure('conflict', {
            message: `Deployment ${deployment.number} ${phase === 'draining' ? 'serves already' : `has ended: it ${phase === 'canceled' ? 'was' : 'has'} ${phase}`}.`,
            hint: 'To go back to an earlier one: libra rollback',
          });
        }
        if (!stored.document.cancelRequested && phase !== 'returning') {
          const next = withLog(
            { ...stored.document, cancelRequested: true, updatedAtMs: clock.now() },
            clock.now(),
            `${call.principal.name} asked to cancel it.`,
          );
          await view.commit(update(deploymentStatusRecords, stored, next));
        }
        return deploymentReply(deps, deployment);
      },
    },
  };
}

/** The manifest of a text; throws `manifest_invalid` with every problem. */
export function readManifest(text: string): Manifest {
  const { manifest, problems } = parseManifest(text);
  if (manifest !== null) return manifest;
  const [first] = problems;
  const more = problems.length > 1 ? ` And ${problems.length - 1} more.` : '';
  throw new Failure('manifest_invalid', {
    message: `The manifest has errors. ${first === undefined ? '' : formatProblem(first)}${more}`,
    details: { problems },
  });
}

function describe(draft: DeploymentDraft, release: Release, who: string): string {
  const what = `Release ${release.number}${release.label === null ? '' : ` (${release.label})`}`;
  switch (draft.cause) {
    case 'deploy':
      return `${who} deploys ${what}.`;
    case 'rollback':
      return `${who} rolls back to Deployment ${draft.from?.number ?? ''} with ${what}.`;
    case 'restart':
      return `${who} restarts ${what}.`;
    case 'config':
      return `${who} brings new values to ${what}.`;
  }
}

/** Sorts as the number does. */
export function numberKey(number: number): string {
  return String(number).padStart(9, '0');
}

/** Changes whenever the reply does, and is the same after a restart of control. */
function eventId(reply: DeploymentReply, status: DeploymentStatus | undefined): string {
  return `${status?.updatedAtMs ?? 0}-${status?.log.length ?? 0}-${reply.phase}-${reply.stable ? 1 : 0}`;
}
