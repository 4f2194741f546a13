// An Instance by its id or the unambiguous beginning of one, inside the Environment that the caller may see.

import { Failure } from '../../lib/failure.ts';
import type { App, Environment, InstanceSpec } from '../../model/documents.ts';
import type { View } from '../../store/view.ts';
import { instanceSpecRecords } from '../deploys/records.ts';

/** Also finds the App's builds, which belong to no Environment. Throws `not_found`, or `invalid_input` where several begin so. */
export function findInstance(view: View, app: App, environment: Environment, text: string): InstanceSpec {
  const belongs = (spec: InstanceSpec): boolean =>
    spec.appId === app.id && (spec.environmentId === environment.id || spec.environmentId === null);
  const exact = view.get(instanceSpecRecords, text)?.document;
  if (exact !== undefined && belongs(exact)) return exact;
  const found =
    text === ''
      ? []
      : view.by(instanceSpecRecords, 'app', app.id).filter(({ document }) => document.id.startsWith(text) && belongs(document));
  const [only] = found;
  if (only === undefined) {
    throw new Failure('not_found', {
      message: `${app.name}/${environment.name} has no Instance ${text.slice(0, 64)}.`,
      hint: `\`libra ps --app ${app.name} --environment ${environment.name} --all\` lists them.`,
    });
  }
  if (found.length > 1)
    throw new Failure('invalid_input', { message: `${found.length} Instances begin with ${text}; give more of the id.` });
  return only.document;
}
