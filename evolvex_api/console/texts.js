// Texts in English and Russian, and how numbers, dates and durations are written.

const EN = {
  title: "Calls",
  now: "Now", log: "Log", figures: "Figures",
  skip: "Skip to the content",
  key: "API key", logIn: "Log in", logOut: "Log out", checking: "Checking…",
  loginHint: "The key is kept until this tab is closed and is sent to this server alone.",
  keyUnknown: "No API user has this key.",
  keyMissing: "Enter a key.",
  keyDisabled: "This API user is disabled.",
  keyExpired: "This API user has expired.",
  keyAddress: "This key may not be used from your address.",
  keyWithdrawn: "The key no longer works. Log in with another one.",
  noRights: "This key opens none of the views",
  noRightsHint: "The administrator of the PBX can give its group the rights events, cdr or stats.",
  offline: "The server does not answer. Check the connection.",
  retry: "Try again",
  failed: "The request failed: {detail}",
  pbxGone: "The PBX cannot be reached",
  pbxGoneHint: "The list is filled again as soon as it answers.",
  databaseGone: "The call log cannot be reached",
  databaseGoneHint: "Its database does not answer at the moment.",
  liveGone: "Live calls are not available",
  liveGoneHint: "The events service does not answer. The connection is tried again by itself.",
  tooMany: "Too many pages listen at once. The connection is tried again by itself.",
  connecting: "Connecting…", live: "Live", reconnecting: "Reconnecting…",
  noCalls: "No calls at the moment", noCallsHint: "A new call appears here by itself.",
  ringing: "Ringing", queued: "Waiting", answered: "Talking", held: "On hold", ended: "Ended",
  talking: "Talking",
  dirIn: "Incoming", dirOut: "Outgoing", dirInternal: "Internal",
  hidden: "Number hidden",
  rings: "rings: {numbers}", withWhom: "talks with {number}", inQueue: "in queue {queue}",
  duration: "Duration", newCall: "{direction} call: {from} to {to}",
  mine: "My telephone", mineHint: "Your telephone rings first; when you answer it, the number is dialled.",
  myLine: "Own extension", myLineHint: "101, or a channel such as PJSIP/101",
  context: "Routing context", save: "Save", cancel: "Cancel",
  number: "Number", call: "Call", callNumber: "Call {number}",
  contextDenied: "The key may not dial through this context.",
  dialling: "Your telephone {line} rings: answer it to be connected with {number}.",
  dialled: "Connected: {number} is being dialled.",
  notDialled: "Not connected: {reason}.",
  reason1: "the call was declined", reason3: "your telephone was not answered", reason5: "your telephone is busy", reason8: "your telephone cannot be reached",
  dialDenied: "the key may not dial this ({detail})",
  from: "From", to: "To", today: "Today", yesterday: "Yesterday", week: "7 days", month: "30 days", period: "Period",
  direction: "Direction", result: "Result", any: "Any",
  resAnswered: "Answered", resMissed: "Missed", resNoAnswer: "No answer", resBusy: "Busy", resFailed: "Failed", resMenu: "Menu only",
  time: "Time", caller: "Caller", callee: "Called", whoAnswered: "Answered by", talk: "Talk", actions: "Actions",
  downloadCsv: "Download CSV", refresh: "Refresh", more: "Show more", loading: "Loading…",
  nothing: "No calls in this period", nothingHint: "Choose other dates or remove a filter.",
  legs: "Legs of the call", telephone: "Telephone", showLegs: "Legs of the call of {time}", allShown: "All calls are shown",
  calls_one: "{n} call", calls_other: "{n} calls",
  listenTo: "Listen to the call of {time}", noRecording: "This call has no recording.",
  playerName: "Recording", play: "Play", pause: "Pause", position: "Position", speed: "Speed", download: "Download", close: "Close",
  soundFailed: "The recording cannot be played.",
  total: "Calls", answeredCalls: "Answered", missed: "Missed", notCalledBack: "Not called back", averageWait: "Average wait", averageTalk: "Average talk", longestWait: "Longest wait",
  byHour: "By hour of the day", byDay: "By day", byAgent: "By agent", byQueue: "By queue",
  agent: "Agent", queue: "Queue", talkTotal: "Talk in all", asTable: "As a table", hour: "Hour", day: "Day",
  bar: "{label}: {answered} answered, {missed} missed",
  callBackList: "Missed and not called back", nobodyMissed: "Everybody has been called back",
  waited: "Waited", lookFurther: "Look further back",
  badPeriod: "The first day is after the last one.", longPeriod: "Choose at most 92 days.",
  h: "h", min: "min", s: "s",
};

const RU = {
  title: "Звонки",
  now: "Сейчас", log: "Журнал", figures: "Итоги",
  skip: "К содержанию",
  key: "Ключ API", logIn: "Войти", logOut: "Выйти", checking: "Проверка…",
  loginHint: "Ключ хранится, пока открыта эта вкладка, и отправляется только на этот сервер.",
  keyUnknown: "Пользователя API с таким ключом нет.",
  keyMissing: "Введите ключ.",
  keyDisabled: "Этот пользователь API отключён.",
  keyExpired: "Срок действия ключа истёк.",
  keyAddress: "С вашего адреса этот ключ не действует.",
  keyWithdrawn: "Ключ больше не действует. Войдите с другим.",
  noRights: "Этот ключ не открывает ни одного раздела",
  noRightsHint: "Администратор АТС может дать его группе права events, cdr или stats.",
  offline: "Сервер не отвечает. Проверьте соединение.",
  retry: "Повторить",
  failed: "Запрос не выполнен: {detail}",
  pbxGone: "Нет связи с АТС",
  pbxGoneHint: "Список обновится, как только она ответит.",
  databaseGone: "Журнал звонков недоступен",
  databaseGoneHint: "База данных сейчас не отвечает.",
  liveGone: "Текущие звонки недоступны",
  liveGoneHint: "Служба событий не отвечает. Соединение восстановится само.",
  tooMany: "Открыто слишком много страниц. Соединение повторится само.",
  connecting: "Соединение…", live: "На связи", reconnecting: "Восстановление связи…",
  noCalls: "Сейчас звонков нет", noCallsHint: "Новый звонок появится здесь сам.",
  ringing: "Вызов", queued: "Ожидание", answered: "Разговор", held: "Удержание", ended: "Завершён",
  talking: "Разговор",
  dirIn: "Входящий", dirOut: "Исходящий", dirInternal: "Внутренний",
  hidden: "Номер скрыт",
  rings: "звонит: {numbers}", withWhom: "разговор с {number}", inQueue: "в очереди {queue}",
  duration: "Длительность", newCall: "{direction} звонок: {from}, на номер {to}",
  mine: "Мой телефон", mineHint: "Сначала зазвонит ваш телефон; когда вы ответите, будет набран номер.",
  myLine: "Свой внутренний номер", myLineHint: "101 или канал вида PJSIP/101",
  context: "Контекст маршрутизации", save: "Сохранить", cancel: "Отмена",
  number: "Номер", call: "Позвонить", callNumber: "Позвонить {number}",
  contextDenied: "Ключу не разрешён этот контекст.",
  dialling: "Звонит ваш телефон {line}: ответьте, и вас соединят с {number}.",
  dialled: "Соединено: набирается {number}.",
  notDialled: "Не соединено: {reason}.",
  reason1: "вызов отклонён", reason3: "ваш телефон не ответил", reason5: "ваш телефон занят", reason8: "ваш телефон недоступен",
  dialDenied: "этому ключу нельзя так звонить ({detail})",
  from: "С", to: "По", today: "Сегодня", yesterday: "Вчера", week: "7 дней", month: "30 дней", period: "Период",
  direction: "Направление", result: "Итог", any: "Любой",
  resAnswered: "Отвечен", resMissed: "Пропущен", resNoAnswer: "Нет ответа", resBusy: "Занято", resFailed: "Ошибка", resMenu: "Только меню",
  time: "Время", caller: "Кто", callee: "Кому", whoAnswered: "Ответил", talk: "Разговор", actions: "Действия",
  downloadCsv: "Скачать CSV", refresh: "Обновить", more: "Показать ещё", loading: "Загрузка…",
  nothing: "За этот период звонков нет", nothingHint: "Выберите другие даты или уберите фильтр.",
  legs: "Плечи звонка", telephone: "Телефон", showLegs: "Плечи звонка {time}", allShown: "Показаны все звонки",
  calls_one: "{n} звонок", calls_few: "{n} звонка", calls_many: "{n} звонков", calls_other: "{n} звонка",
  listenTo: "Слушать звонок {time}", noRecording: "У этого звонка нет записи.",
  playerName: "Запись", play: "Слушать", pause: "Пауза", position: "Позиция", speed: "Скорость", download: "Скачать", close: "Закрыть",
  soundFailed: "Запись не воспроизводится.",
  total: "Звонков", answeredCalls: "Отвечено", missed: "Пропущено", notCalledBack: "Не перезвонили", averageWait: "Среднее ожидание", averageTalk: "Средний разговор", longestWait: "Макс. ожидание",
  byHour: "По часам", byDay: "По дням", byAgent: "По сотрудникам", byQueue: "По очередям",
  agent: "Сотрудник", queue: "Очередь", talkTotal: "Всего разговоров", asTable: "Таблицей", hour: "Час", day: "День",
  bar: "{label}: отвечено {answered}, пропущено {missed}",
  callBackList: "Пропущены, не перезвонили", nobodyMissed: "Всем перезвонили",
  waited: "Ждал", lookFurther: "Искать дальше",
  badPeriod: "Первый день позже последнего.", longPeriod: "Выберите не больше 92 дней.",
  h: "ч", min: "мин", s: "с",
};

/** "ru" or "en": the first of the browser's languages that is one of them. */
export const LANGUAGE = navigator.languages.map((tag) => tag.slice(0, 2)).find((tag) => tag === "ru" || tag === "en") ?? "en";
const LOCALE = LANGUAGE === "ru" ? "ru-RU" : "en-GB";
const TEXTS = LANGUAGE === "ru" ? RU : EN;
const PLURALS = new Intl.PluralRules(LOCALE);
const NUMBERS = new Intl.NumberFormat(LOCALE);
// Times of the call log are the PBX's own, without a zone: they are kept as UTC and shown as such.
const DAYS = new Intl.DateTimeFormat(LOCALE, { day: "numeric", month: "short", weekday: "short", timeZone: "UTC" });
const SHORT_DAYS = new Intl.DateTimeFormat(LOCALE, { day: "numeric", month: "short", timeZone: "UTC" });

/** A text by its name, with `{name}` replaced by values. */
export function t(name, values = {}) {
  return TEXTS[name].replace(/\{(\w+)\}/g, (_, key) => values[key] ?? "");
}

/** "1 call", "5 calls". */
export function callCount(n) {
  return t(`calls_${PLURALS.select(n)}`, { n: NUMBERS.format(n) });
}

export function number(n) {
  return NUMBERS.format(n);
}

/** Seconds as 0:07, 12:30 or 1:02:03. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n) => String(n).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** Seconds in words: "1 h 20 min", "45 s". */
export function spoken(seconds) {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} ${t("s")}`;
  const [h, m] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  if (h) return `${h} ${t("h")} ${m} ${t("min")}`;
  return whole % 60 && m < 10 ? `${m} ${t("min")} ${whole % 60} ${t("s")}` : `${m} ${t("min")}`;
}

/** "Tue 24 Nov" of "2026-11-24…". */
export function day(moment) {
  return DAYS.format(asDate(moment));
}

/** "24 Nov" of "2026-11-24…". */
export function shortDay(moment) {
  return SHORT_DAYS.format(asDate(moment));
}

/** "22:58:01" of "2026-11-24 22:58:01". */
export function timeOfDay(moment) {
  return moment.slice(11, 19);
}

/** "24 Nov, 22:58" of "2026-11-24 22:58:01". */
export function dayAndTime(moment) {
  return `${shortDay(moment)}, ${moment.slice(11, 16)}`;
}

function asDate(moment) {
  const date = new Date(`${moment.slice(0, 10)}T00:00:00Z`);
  return Number.isNaN(date.getTime()) ? new Date(0) : date;
}
