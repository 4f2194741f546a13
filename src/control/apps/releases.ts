// Releases: a manifest and the folder or image that it speaks of, numbered without gaps per App. What needs a build begins as building;
// the builds reconciler ends it.

import type { ReplyOf } from '../../api/endpoint.ts';
import type { ApiTable, table } from '../../api/table.ts';
import type { BlobInfo } from '../../blob/blob.ts';
import { Failure, isFailure } from '../../lib/failure.ts';
import { newId } from '../../lib/id.ts';
import type { Artifact, Release } from '../../model/documents.ts';
import type { Manifest } from '../../model/manifest-types.ts';
import { create, update } from '../../store/records.ts';
import { needsBuild } from '../builds/needs-build.ts';
import type { ControlContext } from '../context.ts';
import { numberKey, readManifest } from '../deploys/deployments.ts';
import { reasonReply } from '../deploys/replies.ts';
import type { Call, NounHandlers } from '../handler.ts';
import { findApp } from '../lookup.ts';
import { pageOf } from '../server-page.ts';
import { checkBundle } from './check-bundle.ts';
import { newApp } from './new-app.ts';
import { appRecords, releaseRecords } from './records.ts';

type ReleaseReply = ReplyOf<ApiTable['releases']['get']>;
type CreateCall = Call<typeof table.releases.create>;

const CREATE_ATTEMPTS = 5;

export function createReleaseHandlers(context: ControlContext): NounHandlers<typeof table.releases> {
  const { view, clock } = context;

  const reply = (release: Release, appName: string): ReleaseReply => ({
    id: release.id,
    app: appName,
    number: release.number,
    label: release.label,
    source: { ...release.source },
    state: release.state,
    artifact: release.artifact === null ? null : release.artifact.kind === 'bundle' ? release.artifact.digest : release.artifact.reference,
    buildInstanceId: release.buildInstanceId,
    reason: reasonReply(release.reason),
    createdAtMs: release.createdAtMs,
    createdBy: release.createdBy,
  });

  const make = async (call: CreateCall, manifest: Manifest, bundle: BlobInfo | null): Promise<Release> => {
    const appName = call.params.app;
    const stored = view.byName(appRecords, appName);
    if (stored?.document.state === 'deleting') {
      throw new Failure('conflict', { message: `The App ${appName} is being deleted.`, hint: 'Wait until it is gone.' });
    }
    const app = stored?.document ?? newApp(context, { name: appName, gitUrl: null, id: undefined });
    const nowMs = clock.now();
    const release: Release = {
      id: call.recordId ?? newId(nowMs, context.random),
      appId: app.id,
      number: app.lastRelease + 1,
      label: call.body.label,
      source: call.body.source,
      manifest,
      bundle: bundle === null ? null : { digest: bundle.digest, sizeBytes: bundle.sizeBytes },
      ...beginning(manifest, bundle),
      buildInstanceId: null,
      createdAtMs: nowMs,
      createdBy: call.principal.name,
    };
    const next = { ...app, lastRelease: release.number };
    await view.commit(create(releaseRecords, release), stored === undefined ? create(appRecords, next) : update(appRecords, stored, next));
    context.event({
      level: 'info',
      kind: 'release.created',
      message: `${call.principal.name} made Release ${release.number} of ${appName}${release.label === null ? '' : ` (${release.label})`}.`,
      subject: { appId: app.id },
    });
    return release;
  };

  return {
    list: async (call) => {
      const app = findApp(view, call.params.app).document;
      const newestFirst = view
        .by(releaseRecords, 'app', app.id)
        .map(({ document }) => document)
        .sort((a, b) => b.number - a.number);
      const page = pageOf(newestFirst, call.query, { list: 'releases', keyOf: (one) => numberKey(one.number), order: 'descending' });
      return { items: page.items.map((one) => reply(one, app.name)), next: page.next };
    },
    create: async (call) => {
      const manifest = readManifest(call.body.manifest);
      if (manifest.app !== call.params.app) {
        throw new Failure('manifest_invalid', {
          message: `The manifest is of the App ${manifest.app}, but the Release is for ${call.params.app}.`,
          hint: 'Name the same App in both.',
        });
      }
      const bundle = await bundleOf(context, manifest, call.body.bundle);
      for (let attempt = 1; ; attempt += 1) {
        const made = call.recordId === undefined ? undefined : view.get(releaseRecords, call.recordId);
        if (made !== undefined) return reply(made.document, call.params.app);
        try {
          return reply(await make(call, manifest, bundle), call.params.app);
        } catch (error) {
          // Two at once want the same number: the later takes the next.
          const raced = isFailure(error, 'conflict') || isFailure(error, 'exists');
          const deleting = view.byName(appRecords, call.params.app)?.document.state === 'deleting';
          if (!raced || deleting || attempt >= CREATE_ATTEMPTS) throw error;
        }
      }
    },
    get: async (call) => {
      const app = findApp(view, call.params.app).document;
      const { release: number } = call.params;
      const found = /^\d{1,9}$/u.test(number) ? view.byName(releaseRecords, `${app.id}/${Number(number)}`) : undefined;
      if (found !== undefined) return reply(found.document, app.name);
      throw new Failure('not_found', {
        message: `The App ${app.name} has no Release ${number.slice(0, 20)}.`,
        hint: `libra releases --app ${app.name}`,
      });
    },
  };
}

/** The uploaded folder; null where an image runs. Throws `not_found` where it is not there whole. */
async function bundleOf(context: ControlContext, manifest: Manifest, digest: string | null): Promise<BlobInfo | null> {
  const ownImages = Object.values(manifest.entrypoints).every((spec) => spec.image !== null);
  if (digest === null) {
    if (manifest.build.kind === 'image' || ownImages) return null;
    throw new Failure('bundle_invalid', {
      message: 'The manifest runs a folder, but no folder was uploaded.',
      hint: 'Upload it first and name its digest as `bundle`.',
    });
  }
  const info = await context.blobs.stat(digest);
  if (info !== undefined) {
    await checkBundle(context.blobs, digest);
    return info;
  }
  throw new Failure('not_found', { message: `There is no uploaded folder ${digest}.`, hint: 'Upload it whole first.' });
}

/** What is known of the artifact at the beginning. */
function beginning(manifest: Manifest, bundle: BlobInfo | null): Pick<Release, 'artifact' | 'state' | 'reason'> {
  const { build } = manifest;
  if (build.kind === 'image') return { artifact: { kind: 'image', reference: build.image }, state: 'ready', reason: null };
  if (needsBuild(build)) return { artifact: null, state: 'building', reason: null };
  const artifact: Artifact | null = bundle === null ? null : { kind: 'bundle', digest: bundle.digest, sizeBytes: bundle.sizeBytes };
  return { artifact, state: 'ready', reason: null };
}
