// Builds: a Release that needs one gets a one-off Instance like any other, and what it makes becomes the artifact. Equal input is built
// once: source, commands and platform name the result. A Release never stays `building`: there is a deadline.

import { createHash } from 'node:crypto';
import { isFailure } from '../../lib/failure.ts';
import { newId } from '../../lib/id.ts';
import { blobsOf, builtImage } from '../../model/built-image.ts';
import { FINAL_INSTANCE_PHASES } from '../../model/documents.ts';
import type { Artifact, InstanceSpec, InstanceStatus, Reason, Release } from '../../model/documents.ts';
import type { Build } from '../../model/manifest-types.ts';
import type { Operation, Stored } from '../../store/collection.ts';
import { create, guard, put, update } from '../../store/records.ts';
import { appRecords, releaseRecords } from '../apps/records.ts';
import { DEFAULT_RUNTIME } from '../cluster/bootstrap.ts';
import { instanceStatusRecords, nodeSpecRecords, nodeStatusRecords, runtimeRecords } from '../cluster/records.ts';
import type { ControlContext, Reconciler } from '../context.ts';
import { buildRequest } from '../deploys/placement.ts';
import { place } from '../deploys/placing.ts';
import { roomsOf } from '../deploys/rooms.ts';
import { instanceSpecRecords } from '../deploys/records.ts';
import { createSteadyTime } from '../deploys/steady-time.ts';
import { schedule } from '../scheduler/schedule.ts';
import { buildCommands } from './needs-build.ts';
import { buildCacheRecords } from './records.ts';

const BUILD_MS = 15 * 60_000;
const EVERY_MS = 30_000;
const RETRY_MS = 1000;
/** A build whose Node dies is begun anew, so often in all. */
const ATTEMPTS = 3;

export function createBuilds(context: ControlContext): { readonly reconcilers: readonly Reconciler[] } {
  const { view, clock, log } = context;
  const elapsedMs = createSteadyTime(clock);

  const finish = async (stored: Stored<Release>, artifact: Artifact, ...more: Operation[]): Promise<void> => {
    await view.commit(update(releaseRecords, stored, { ...stored.document, state: 'ready', artifact, reason: null }), ...more);
    tell(stored.document, 'info', 'release.ready', `Release ${stored.document.number} is built.`);
  };

  const fail = async (stored: Stored<Release>, reason: Omit<Reason, 'instanceId'>, ...more: Operation[]): Promise<void> => {
    const full: Reason = { ...reason, instanceId: stored.document.buildInstanceId };
    await view.commit(update(releaseRecords, stored, { ...stored.document, state: 'failed', reason: full }), ...more);
    tell(stored.document, 'error', 'release.failed', `Release ${stored.document.number} could not be built: ${reason.message}`);
  };

  const tell = (release: Release, level: 'info' | 'error', kind: string, message: string): void =>
    context.event({ level, kind, message, subject: { appId: release.appId } });

  /** Places the build, or takes an earlier result of the same input. Returns when to look again, milliseconds. */
  const begin = async (stored: Stored<Release>, attempts: number): Promise<number | null> => {
    const release = stored.document;
    const { bundle } = release;
    if (bundle === null) {
      await fail(stored, { code: 'build_failed', message: 'There is no folder to build.', hint: null, lastLines: [] });
      return null;
    }
    const { nodeId, why } = nodeFor(release.manifest.build);
    const node = nodeId === null ? undefined : view.get(nodeSpecRecords, nodeId);
    if (node === undefined) {
      if (elapsedMs(release.createdAtMs) < BUILD_MS) return RETRY_MS;
      await fail(stored, {
        code: 'no_capacity',
        message: `The build found no Node in time. ${why}`,
        hint: 'Look at `libra nodes`.',
        lastLines: [],
      });
      return null;
    }
    const commands = buildCommands(release.manifest.build);
    const cached = await earlierResult(inputDigest(release, node.document.id));
    if (cached !== null) {
      await finish(stored, cached.document.artifact, update(buildCacheRecords, cached, { ...cached.document, usedAtMs: clock.now() }));
      return null;
    }
    const app = view.get(appRecords, release.appId);
    if (app === undefined || app.document.state === 'deleting') return null;
    const placing = await place(context, () => {
      // Others may have placed something meanwhile.
      if (nodeFor(release.manifest.build).nodeId !== node.document.id) return null;
      const nowMs = clock.now();
      const spec: InstanceSpec = {
        id: newId(nowMs, context.random),
        appId: release.appId,
        environmentId: null,
        deploymentId: null,
        releaseId: release.id,
        entrypoint: 'build',
        role: 'build',
        slot: attempts,
        nodeId: node.document.id,
        generation: 1,
        desired: 'run',
        draining: false,
        drainingSinceMs: null,
        commands,
        tickMs: null,
        createdAtMs: nowMs,
      };
      const begun = update(releaseRecords, stored, { ...release, buildInstanceId: spec.id });
      return { placed: [spec], operations: [create(instanceSpecRecords, spec), begun, guard(appRecords, app)] };
    });
    return placing === null ? RETRY_MS : BUILD_MS;
  };

  /** The default Runtime first, then the others by name: a Release belongs to no Environment. */
  const nodeFor = (build: Build): { readonly nodeId: string | null; readonly why: string } => {
    const runtimes = view
      .list(runtimeRecords)
      .map(({ document }) => document)
      .sort((a, b) => Number(b.name === DEFAULT_RUNTIME) - Number(a.name === DEFAULT_RUNTIME) || (a.name < b.name ? -1 : 1));
    let why = 'There is no Runtime.';
    for (const runtime of runtimes) {
      const plan = schedule(roomsOf(view, runtime.id), [buildRequest('build', build)]);
      const place = plan.placed.get('build');
      if (place !== undefined) return { nodeId: place.nodeId, why };
      why = plan.unplaced[0]?.message ?? why;
    }
    return { nodeId: null, why };
  };

  const inputDigest = (release: Release, nodeId: string): string => {
    const platform = view.get(nodeStatusRecords, nodeId)?.document.platform;
    const { build, env } = release.manifest;
    const how = build.kind === 'dockerfile' ? build : buildCommands(build);
    const input = [release.bundle?.digest, how, env, platform?.os, platform?.arch, platform?.program];
    return createHash('sha256').update(JSON.stringify(input)).digest('hex');
  };

  const earlierResult = async (id: string) => {
    const cached = view.get(buildCacheRecords, id);
    if (cached === undefined) return null;
    const digests = blobsOf(cached.document.artifact);
    for (const digest of digests) if ((await context.blobs.stat(digest)) === undefined) return null;
    return digests.length === 0 ? null : cached;
  };

  const conclude = async (stored: Stored<Release>, spec: InstanceSpec, status: InstanceStatus): Promise<number | null> => {
    const release = stored.document;
    if (status.phase === 'succeeded' && status.output !== null) {
      const artifact = artifactOf(release, spec, status.output);
      const id = inputDigest(release, spec.nodeId);
      await finish(stored, artifact, put(buildCacheRecords, { id, artifact, usedAtMs: clock.now() }));
      return null;
    }
    const attempts = spec.slot + 1;
    if (status.phase === 'lost' && attempts < ATTEMPTS) return begin(stored, attempts);
    const why = status.reason?.message ?? (status.phase === 'succeeded' ? 'Its result was not uploaded.' : `The build ${status.phase}.`);
    await fail(stored, {
      code: 'build_failed',
      message: `The build failed: ${why}`,
      hint: status.reason?.hint ?? `See all of its output: libra logs --instance ${spec.id}`,
      lastLines: status.reason?.lastLines ?? [],
    });
    return null;
  };

  const artifactOf = (release: Release, spec: InstanceSpec, output: NonNullable<InstanceStatus['output']>): Artifact => {
    const { digest, sizeBytes } = output;
    if (release.manifest.build.kind !== 'dockerfile') return { kind: 'bundle', digest, sizeBytes };
    return { kind: 'image', reference: builtImage(release.manifest.app, spec.id), blob: output };
  };

  const step = async (stored: Stored<Release>): Promise<number | null> => {
    const { buildInstanceId } = stored.document;
    if (view.get(appRecords, stored.document.appId)?.document.state !== 'active') return null;
    if (buildInstanceId === null) return begin(stored, 0);
    const instance = view.get(instanceSpecRecords, buildInstanceId);
    if (instance === undefined) {
      await fail(stored, {
        code: 'build_failed',
        message: 'The record of its build is gone.',
        hint: 'Make the Release anew: libra deploy',
        lastLines: [],
      });
      return null;
    }
    const status = view.get(instanceStatusRecords, buildInstanceId)?.document;
    if (status !== undefined && FINAL_INSTANCE_PHASES.has(status.phase)) return conclude(stored, instance.document, status);
    const restMs = BUILD_MS - elapsedMs(instance.document.createdAtMs);
    if (restMs > 0) return restMs;
    const stopped: InstanceSpec = { ...instance.document, desired: 'stop', generation: instance.document.generation + 1 };
    await fail(
      stored,
      {
        code: 'build_failed',
        message: `The build had not ended after ${BUILD_MS / 60_000} minutes and was stopped.`,
        hint: `See its output: libra logs --instance ${instance.document.id}`,
        lastLines: status?.reason?.lastLines ?? [],
      },
      update(instanceSpecRecords, instance, stopped),
    );
    return null;
  };

  return {
    reconcilers: [
      {
        name: 'builds',
        everyMs: EVERY_MS,
        wakeOn: [releaseRecords.name, instanceStatusRecords.name, nodeStatusRecords.name],
        run: async (signal) => {
          let nextMs = EVERY_MS;
          for (const stored of view.by(releaseRecords, 'state', 'building')) {
            if (signal.aborted) return undefined;
            try {
              nextMs = Math.min(nextMs, (await step(stored)) ?? EVERY_MS);
            } catch (error) {
              if (!isFailure(error, 'conflict')) log.error({ error, releaseId: stored.document.id }, 'build pass failed');
              nextMs = Math.min(nextMs, RETRY_MS);
            }
          }
          return nextMs;
        },
      },
    ],
  };
}
