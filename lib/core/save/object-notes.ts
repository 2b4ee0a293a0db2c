/** A note for each of many objects, which ends with its object. */
export interface ObjectNotes<Note> {
  get(object: object): Note | undefined;
  set(object: object, note: Note): void;
}

/** Returns its argument, so that a subclass installs its private field on that object ("return override"). */
const ReturnOverride = class {
  constructor(object: object) {
    // biome-ignore lint/correctness/noConstructorReturn: this is what the class is for
    return object;
  }
} as new (
  object: object,
) => object;

/**
 * Keeps notes in a private field of the objects, which nobody else can see. A WeakMap would do the same, but garbage
 * collection copies its young entries again and again: it took 9 % of a page view (bench/RESULTS.md).
 */
export function objectNotes<Note>(): ObjectNotes<Note> {
  // A TC39 proposal forbids to add private fields to objects that are not extensible.
  const ofFrozen = new WeakMap<object, Note>();
  return class Notes extends ReturnOverride {
    #note: Note;

    private constructor(object: object, note: Note) {
      super(object);
      this.#note = note;
    }

    static get(object: object): Note | undefined {
      return #note in object ? object.#note : ofFrozen.get(object);
    }

    static set(object: object, note: Note): void {
      if (#note in object) object.#note = note;
      else if (Object.isExtensible(object)) new Notes(object, note);
      else ofFrozen.set(object, note);
    }
  };
}
