"""What AMI's Status would answer after the events so far."""

from __future__ import annotations

from evolvex_api.events.call import Event

_SNAPSHOT = (
    *("Channel", "ChannelState", "ChannelStateDesc", "CallerIDNum", "CallerIDName"),
    *("ConnectedLineNum", "ConnectedLineName", "Language", "AccountCode"),
    *("Context", "Exten", "Priority", "Uniqueid", "Linkedid"),
)
_BEHIND = (
    *("Type", "DNID", "EffectiveConnectedLineNum", "EffectiveConnectedLineName", "TimeToHangup"),
    *("BridgeID", "Application", "Data", "Nativeformats", "Readformat", "Readtrans"),
    *("Writeformat", "Writetrans", "Callgroup", "Pickupgroup", "Seconds"),
)
_PREFIXES = ("", "Dest", "Transferee", "Transferer", "OrigTransferer", "SecondTransferer")
_APPLICATIONS = {"base": "ConfBridge", "parking": "Park", "basic": "Dial"}


class StatusModel:
    """Live channels, by the snapshots in events."""

    def __init__(self) -> None:
        self._channels: dict[str, dict[str, str]] = {}
        self._gone: set[str] = set()

    def note(self, event: Event) -> None:
        """Take an event that Asterisk has sent, whether or not anybody has received it."""
        fields = dict(event)
        for prefix in _PREFIXES:
            if f"{prefix}Linkedid" in fields:
                self._note_snapshot({name: fields[f"{prefix}{name}"] for name in _SNAPSHOT})
        uid = fields.get("Uniqueid", "")
        match fields["Event"]:
            case "Hangup":
                self._gone.add(uid)
                self._channels.pop(uid, None)
            case "BridgeEnter":
                application = _APPLICATIONS[fields["BridgeType"]]
                self._set(uid, BridgeID=fields["BridgeUniqueid"], Application=application)
            case "BridgeLeave":
                self._set(uid, BridgeID="")
            case "QueueCallerJoin":
                self._set(uid, Application="Queue", Data=f"{fields['Queue']},tT")
            case "QueueCallerLeave":
                self._set(uid, Application="", Data="")

    def status(self) -> list[Event]:
        """Return the `Event: Status` of each live channel."""
        head = (("Event", "Status"), ("Privilege", "Call"))
        names = (*_SNAPSHOT, *_BEHIND)
        return [
            (*head, *((name, values.get(name, "")) for name in names), ("ActionID", "1"))
            for values in self._channels.values()
        ]

    def linkedids(self) -> set[str]:
        """Return the calls that live."""
        return {values["Linkedid"] for values in self._channels.values()}

    def _note_snapshot(self, snapshot: dict[str, str]) -> None:
        uid = snapshot["Uniqueid"]
        if uid not in self._gone:
            self._channels[uid] = {**self._channels.get(uid, {}), **snapshot}

    def _set(self, uid: str, **values: str) -> None:
        if uid in self._channels:
            self._channels[uid] |= values
