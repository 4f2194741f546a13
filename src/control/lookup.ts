// From the names in a path to records: one wording for what is not there.

import { Failure } from '../lib/failure.ts';
import type { App, Environment } from '../model/documents.ts';
import type { Stored } from '../store/collection.ts';
import type { View } from '../store/view.ts';
import { appRecords } from './apps/records.ts';
import { environmentRecords } from './deploys/records.ts';

/** Throws `not_found`. */
export function findApp(view: View, name: string): Stored<App> {
  const found = view.byName(appRecords, name);
  if (found === undefined) throw new Failure('not_found', { message: `There is no App ${name}.`, hint: '`libra apps` lists them.' });
  return found;
}

/** Throws `not_found` where the App or its Environment is missing. */
export function findEnvironment(
  view: View,
  appName: string,
  name: string,
): { readonly app: Stored<App>; readonly environment: Stored<Environment> } {
  const app = findApp(view, appName);
  const environment = view.byName(environmentRecords, `${app.document.id}/${name}`);
  if (environment === undefined) {
    throw new Failure('not_found', {
      message: `The App ${appName} has no Environment ${name}.`,
      hint: `\`libra status --app ${appName}\` shows its Environments.`,
    });
  }
  return { app, environment };
}
