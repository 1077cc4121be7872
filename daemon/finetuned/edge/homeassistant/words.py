"""The words of entities, reasons, states, paces and modes, for people; what machines compare stays English, in attributes and events."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

LANGUAGES = ("en", "de", "es", "fr", "nl")

# Each row: English, German, Spanish, French, Dutch.
NAMES = {
    # of the node
    "running": ("Running", "In Betrieb", "En marcha", "En cours", "Actief"),
    "pace": ("Pace", "Tempo", "Ritmo", "Allure", "Tempo"),
    "reasons": ("Held back by", "Gebremst durch", "Frenado por", "Freiné par", "Geremd door"),
    "queued": (
        "Queued tasks",
        "Wartende Aufgaben",
        "Tareas en cola",
        "Tâches en attente",
        "Wachtende taken",
    ),
    "waiting": (
        "Samples waiting",
        "Wartende Beispiele",
        "Muestras en espera",
        "Échantillons en attente",
        "Wachtende voorbeelden",
    ),
    "temperature": ("Temperature", "Temperatur", "Temperatura", "Température", "Temperatuur"),
    "accelerator": (
        "Accelerator temperature",
        "Temperatur des Beschleunigers",
        "Temperatura del acelerador",
        "Température de l'accélérateur",
        "Temperatuur van de versneller",
    ),
    "battery": ("Battery", "Batterie", "Batería", "Batterie", "Batterij"),
    "warnings": ("Warnings", "Warnungen", "Avisos", "Avertissements", "Waarschuwingen"),
    "mode": ("Mode", "Modus", "Modo", "Mode", "Modus"),
    "pause_all": ("Pause all", "Alles anhalten", "Pausar todo", "Tout suspendre", "Alles pauzeren"),
    "resume_all": ("Resume all", "Alles fortsetzen", "Reanudar todo", "Tout reprendre", "Alles hervatten"),
    "rescan": (
        "Rescan inbox",
        "Eingang neu einlesen",
        "Volver a leer la entrada",
        "Relire la boîte",
        "Postvak opnieuw lezen",
    ),
    "event": (
        "Latest event",
        "Letztes Ereignis",
        "Último suceso",
        "Dernier événement",
        "Laatste gebeurtenis",
    ),
    # of a model
    "progress": ("progress", "Fortschritt", "progreso", "progression", "voortgang"),
    "task": ("task", "Aufgabe", "tarea", "tâche", "taak"),
    "held": ("held back by", "gebremst durch", "frenado por", "freiné par", "geremd door"),
    "loss": ("loss", "Verlust", "pérdida", "perte", "verlies"),
    "accuracy": ("accuracy", "Genauigkeit", "precisión", "exactitude", "nauwkeurigheid"),
    "error": (
        "mean absolute error",
        "mittlerer absoluter Fehler",
        "error absoluto medio",
        "erreur absolue moyenne",
        "gemiddelde absolute fout",
    ),
    "version": ("version", "Version", "versión", "version", "versie"),
    "samples": ("samples", "Beispiele", "muestras", "échantillons", "voorbeelden"),
    "train": ("train", "trainieren", "entrenar", "entraîner", "trainen"),
    "pause": ("pause", "anhalten", "pausar", "suspendre", "pauzeren"),
    "resume": ("resume", "fortsetzen", "reanudar", "reprendre", "hervatten"),
    "cancel": ("cancel", "abbrechen", "cancelar", "annuler", "annuleren"),
    "rollback": ("roll back", "zurücknehmen", "revertir", "revenir en arrière", "terugdraaien"),
    "candidate": ("candidate", "Kandidat", "candidata", "candidate", "kandidaat"),
}
REASONS = {
    "queued": ("the queue", "die Warteschlange", "la cola", "la file d'attente", "de wachtrij"),
    "retry": (
        "a lost worker",
        "einen verlorenen Arbeitsprozess",
        "un proceso perdido",
        "un processus perdu",
        "een verloren werkproces",
    ),
    "user": ("a person", "eine Person", "una persona", "une personne", "een persoon"),
    "thermal": ("heat", "Hitze", "el calor", "la chaleur", "hitte"),
    "gpu": (
        "a hot accelerator",
        "einen heißen Beschleuniger",
        "un acelerador caliente",
        "un accélérateur chaud",
        "een hete versneller",
    ),
    "power": (
        "the power supply",
        "die Stromversorgung",
        "la alimentación",
        "l'alimentation",
        "de voeding",
    ),
    "battery": ("the battery", "die Batterie", "la batería", "la batterie", "de batterij"),
    "memory": (
        "scarce memory",
        "knappen Speicher",
        "la memoria escasa",
        "le manque de mémoire",
        "krap geheugen",
    ),
    "cpuBusy": (
        "other programs",
        "andere Programme",
        "otros programas",
        "d'autres programmes",
        "andere programma's",
    ),
    "schedule": ("the schedule", "den Zeitplan", "el horario", "l'horaire", "het schema"),
    "idle": (
        "somebody at the machine",
        "jemanden am Gerät",
        "alguien en el equipo",
        "quelqu'un devant la machine",
        "iemand aan de machine",
    ),
    "command": (
        "a sensor of your own",
        "einen eigenen Sensor",
        "un sensor propio",
        "un capteur personnel",
        "een eigen sensor",
    ),
    "mode": ("the mode", "den Modus", "el modo", "le mode", "de modus"),
    "disk": ("a full disk", "eine volle Platte", "un disco lleno", "un disque plein", "een volle schijf"),
    "shutdown": (
        "the shutdown",
        "das Herunterfahren",
        "el apagado",
        "l'arrêt du service",
        "het afsluiten",
    ),
}
STATES = {
    "idle": ("idle", "keine", "ninguna", "aucune", "geen"),
    "suspended": ("suspended", "angehalten", "suspendida", "suspendue", "onderbroken"),
    "running": ("running", "läuft", "en marcha", "en cours", "actief"),
    "cancelling": ("cancelling", "wird abgebrochen", "cancelando", "en annulation", "wordt geannuleerd"),
    "completed": ("completed", "abgeschlossen", "terminada", "terminée", "voltooid"),
    "failed": ("failed", "fehlgeschlagen", "fallida", "échouée", "mislukt"),
}
PACES = {
    "full": ("full", "voll", "pleno", "pleine", "vol"),
    "cpu": ("cpu", "auf dem Prozessor", "en el procesador", "sur le processeur", "op de processor"),
    "slow": ("slow", "langsam", "lento", "lente", "langzaam"),
    "paused": ("paused", "angehalten", "en pausa", "suspendue", "gepauzeerd"),
    "released": ("released", "freigegeben", "liberado", "libérée", "vrijgegeven"),
}
MODES = {
    "auto": ("auto", "automatisch", "automático", "automatique", "automatisch"),
    "always": ("always", "immer", "siempre", "toujours", "altijd"),
    "never": ("never", "nie", "nunca", "jamais", "nooit"),
}
SENTENCES = {
    "nothing": ("nothing", "nichts", "nada", "rien", "niets"),
    "in use": ("in use", "in Gebrauch", "en uso", "en service", "in gebruik"),
}
TABLES: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "names": NAMES,
        "reasons": REASONS,
        "states": STATES,
        "paces": PACES,
        "modes": MODES,
        "sentences": SENTENCES,
    }
)


def words(table: str, language: str) -> dict[str, str]:
    """Return a table's words in a language, by the daemon's own words."""
    column = LANGUAGES.index(language)
    return {key: row[column] for key, row in TABLES[table].items()}
