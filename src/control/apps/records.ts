// Records of Apps and Releases.

import { defineCollection } from '../../store/collection.ts';
import type { Collection } from '../../store/collection.ts';
import type { App, Release } from '../../model/documents.ts';

export const appRecords: Collection<App> = defineCollection<App>({ name: 'apps', uniqueName: (app) => app.name });
export const releaseRecords: Collection<Release> = defineCollection<Release>({
  name: 'releases',
  uniqueName: (release) => `${release.appId}/${release.number}`,
  indexes: { app: (release) => release.appId, state: (release) => release.state, build: (release) => release.buildInstanceId },
});
