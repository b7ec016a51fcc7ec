"""The words of the boards in the four languages; names of cities, feeds and indicators stand in the catalogue."""

from __future__ import annotations

from pearlstream.catalogue.models import Name


def _name(en: str, zh: str, zh_hant: str, pt: str) -> Name:
    return Name(en=en, zh=zh, zh_hant=zh_hant, pt=pt)


# ---------------------------------------------------------------- states
OK = _name("ok", "正常", "正常", "normal")
WATCH = _name("watch", "关注", "關注", "atenção")
RAISED = _name("raised", "超限", "超限", "alarme")
NO_DATA = _name("no data", "无数据", "無數據", "sem dados")
OPENED = _name("opened", "触发", "觸發", "aberto")
RESOLVED = _name("resolved", "解除", "解除", "resolvido")
STALE = _name("stale", "失联", "失聯", "sem notícias")

# ---------------------------------------------------------------- boards
OVERVIEW = _name("Cluster overview", "城市群总览", "城市群總覽", "Visão do conjunto")
TASK = _name("Task", "任务", "任務", "Tarefa")
SAFETY = _name("Safety and environment", "安全与环境", "安全與環境", "Segurança e ambiente")
CITY_BOARD = _name("City", "城市", "城市", "Cidade")
FEED_BOARD = _name("Feed explorer", "数据源浏览", "數據源瀏覽", "Explorar fontes")
ALERT_BOARD = _name("Alerts", "告警", "告警", "Alertas")
SCENARIO_BOARD = _name("Scenario", "场景", "場景", "Cenário")
HEALTH_BOARD = _name("Data health", "数据健康", "數據健康", "Saúde dos dados")
PIPELINE_BOARD = _name("Pipeline", "流水线", "流水線", "Processamento")

# ---------------------------------------------------------------- variables
CITY = _name("City", "城市", "城市", "Cidade")
INDICATOR = _name("Indicator", "指标", "指標", "Indicador")
FEED = _name("Feed", "数据源", "數據源", "Fonte")
DEVICE = _name("Device", "设备", "設備", "Dispositivo")

# ---------------------------------------------------------------- headings of columns
VALUE = _name("Value", "数值", "數值", "Valor")
STATE = _name("State", "状态", "狀態", "Estado")
SINCE = _name("Since", "开始时间", "開始時間", "Desde")
UNTIL = _name("Until", "结束时间", "結束時間", "Até")
LASTED = _name("Duration", "持续时间", "持續時間", "Duração")
SEVERITY = _name("Severity", "级别", "級別", "Gravidade")
SUB_ITEM = _name("Sub-item", "子项", "子項", "Subitem")
WINDOW_END = _name("Window end", "窗口结束", "窗口結束", "Fim da janela")
DIMS = _name("Part", "分项", "分項", "Parte")
REASON = _name("Reason", "原因", "原因", "Motivo")
MESSAGE = _name("Message", "说明", "說明", "Mensagem")
KIND = _name("Kind", "类型", "類型", "Tipo")
NOTE = _name("Note", "备注", "備註", "Nota")
TIMES = _name("Times", "次数", "次數", "Vezes")
COVERAGE = _name("Coverage", "覆盖率", "覆蓋率", "Cobertura")

# ---------------------------------------------------------------- panels
TREND = _name("trend", "趋势", "趨勢", "evolução")
COMPARISON = _name("cities compared", "城市对比", "城市對比", "comparação das cidades")
MAP_OF = _name("The cluster", "城市群地图", "城市群地圖", "O conjunto das cidades")
FIRING = _name("Firing now", "当前告警", "當前告警", "Alertas abertos")
FIRING_COUNT = _name("Alerts open", "未解除告警", "未解除告警", "Alertas abertos")
CARD = _name("The plan's own figure", "规划目标", "規劃目標", "Meta do plano")
SUB_ITEMS = _name("The 22 sub-items", "22 个子项", "22 個子項", "Os 22 subitens")
RAISED_SIGNALS = _name("signals raised", "超限信号", "超限信號", "sinais em alarme")
SIGNALS = _name("Signals of the city", "城市信号", "城市信號", "Sinais da cidade")
TIMELINE = _name("Timeline", "时间线", "時間線", "Cronologia")
HISTORY = _name("What opened and ended", "触发与解除记录", "觸發與解除記錄", "O que abriu e terminou")
PER_TEN_MINUTES = _name(
    "Alerts opened per 10 minutes", "每 10 分钟触发数", "每 10 分鐘觸發數", "Alertas abertos por 10 minutos"
)
FLOODS = _name(
    "Floods: more than 10 in 10 minutes",
    "告警洪泛(10 分钟超过 10 条)",
    "告警洪泛(10 分鐘超過 10 條)",
    "Avalanches: mais de 10 em 10 minutos",
)
CHATTERING = _name(
    "Chattering: three or more in an hour",
    "抖动告警(1 小时 3 次以上)",
    "抖動告警(1 小時 3 次以上)",
    "Intermitentes: três ou mais numa hora",
)
STANDING = _name(
    "Standing for more than 24 hours", "持续 24 小时以上", "持續 24 小時以上", "Abertos há mais de 24 horas"
)
SIMULATED = _name("Simulated data", "模拟数据", "模擬數據", "Dados simulados")
SIMULATED_TEXT = _name(
    "Data of this board are **simulated** where a row says so. Indicators are live signals, not targets; "
    "thresholds from a norm are reference limits, all others defaults of this demo.",
    "标有“模拟”的数据均为**模拟数据**。指标是实时信号,不是考核目标;来自标准的阈值为参考限值,其余为演示默认值。",
    "標有「模擬」的數據均為**模擬數據**。指標是即時信號,不是考核目標;來自標準的閾值為參考限值,其餘為演示預設值。",
    "Os dados são **simulados** onde assim está marcado. Os indicadores são sinais em tempo real, não metas; "
    "os limites de normas são de referência, os outros são predefinições desta demonstração.",
)
RATE = _name("Readings per second", "每秒读数", "每秒讀數", "Leituras por segundo")
DELAY = _name("Late readings", "迟到读数", "遲到讀數", "Leituras atrasadas")
REPEATS = _name("Repeated readings", "重复读数", "重複讀數", "Leituras repetidas")
QUARANTINE = _name("Set aside, by reason", "隔离读数(按原因)", "隔離讀數(按原因)", "Postas de lado, por motivo")
QUARANTINE_NEWEST = _name("Set aside last", "最近隔离", "最近隔離", "Últimas postas de lado")
CORRECTIONS = _name("Corrected windows", "已修正窗口", "已修正窗口", "Janelas corrigidas")
HEALTH_SIGNALS = _name("Telemetry signals", "遥测信号", "遙測信號", "Sinais de telemetria")
DEVICES_MAP = _name("Devices and their last values", "设备与最新值", "設備與最新值", "Dispositivos e últimos valores")
RAW = _name("Readings of devices", "设备读数", "設備讀數", "Leituras dos dispositivos")
NEWEST = _name("Newest readings", "最新读数", "最新讀數", "Leituras mais recentes")
TRUTH = _name("What the simulator did", "模拟器注入的事件", "模擬器注入的事件", "O que o simulador fez")
TRUTH_AND_ALERTS = _name("Truth against alerts", "真值与告警对照", "真值與告警對照", "Verdade e alertas")
SCENARIOS = _name("Scenarios", "场景", "場景", "Cenários")
EXPLAINED = _name(
    "Alerts, and the scenario that they fell into",
    "告警及其所处场景",
    "告警及其所處場景",
    "Alertas e o cenário em que caíram",
)
ACTS = _name("Done by hand", "人工操作", "人工操作", "Feito à mão")
OPEN_CITY = _name("Look at this city", "查看该城市", "查看該城市", "Ver esta cidade")
OPEN_BOARD = _name("Look at it", "查看", "查看", "Ver")
NOTHING_FIRES = _name("Nothing is wrong just now.", "当前无告警。", "當前無告警。", "Nada de anormal neste momento.")
NOTHING_SET_ASIDE = _name("Nothing was set aside.", "无隔离读数。", "無隔離讀數。", "Nada foi posto de lado.")
NO_TRUTH = _name(
    "No scenario was played here.", "此处未播放场景。", "此處未播放場景。", "Nenhum cenário foi executado aqui."
)
NO_CORRECTION = _name("Nothing was corrected.", "无修正。", "無修正。", "Nada foi corrigido.")

# ---------------------------------------------------------------- pipeline
STORE = _name("Store", "存储", "儲存", "Armazém")
PROCESSES_UP = _name("Processes up", "运行进程", "運行進程", "Processos ativos")
RECORDS = _name("Records", "处理记录", "處理記錄", "Registos")
LAG = _name("Records behind", "积压记录", "積壓記錄", "Registos em atraso")
FRESHNESS = _name(
    "Freshness: gateway to visible", "新鲜度(网关到可见)", "新鮮度(網關到可見)", "Frescura: da porta ao visível"
)
FRESHNESS_P99 = _name("Freshness p99", "新鲜度 p99", "新鮮度 p99", "Frescura p99")
STORE_FAILURES = _name("Failures", "失败", "失敗", "Falhas")
LOST = _name("Ranges passed over", "跳过的区间", "略過的區間", "Intervalos omitidos")
BATCH_SIZE = _name("Records per batch", "每批记录数", "每批記錄數", "Registos por lote")
FOLDING = _name("Time spent folding", "计算耗时占比", "計算耗時佔比", "Tempo de cálculo")
ROWS_STORED = _name("Rows stored", "写入行数", "寫入行數", "Linhas gravadas")
MEMORY = _name("Memory", "内存", "記憶體", "Memória")
SIZES = _name("Sizes of tables", "表大小", "表大小", "Tamanho das tabelas")
TABLE = _name("Table", "表", "表", "Tabela")
ROWS = _name("Rows", "行数", "行數", "Linhas")
BYTES = _name("On disk", "磁盘占用", "磁碟佔用", "Em disco")
PARTS = _name("Parts", "分片数", "分片數", "Partes")

# ---------------------------------------------------------------- our own page
LIVE = _name("Live", "实时", "即時", "Ao vivo")
NEWEST_TIME = _name("Newest", "最新", "最新", "Mais recente")
THEN = _name("Past", "历史", "歷史", "Passado")
BOARDS = _name("Boards", "看板", "看板", "Painéis")
LANGUAGE = _name("Language", "语言", "語言", "Língua")
LIGHT_OR_DARK = _name("Light or dark", "浅色或深色", "淺色或深色", "Claro ou escuro")
MOMENT = _name("The moment that is shown", "所示时刻", "所示時刻", "O momento mostrado")
SHOWN_TIME = _name("How much time is shown", "显示的时间范围", "顯示的時間範圍", "Quanto tempo é mostrado")
EARLIER = _name("Earlier", "更早", "更早", "Mais cedo")
LATER = _name("Later", "更晚", "更晚", "Mais tarde")
ALL = _name("All", "全部", "全部", "Todas")
SHOW = _name("Show", "显示", "顯示", "Mostrar")
LOADING = _name("Asking the store", "正在查询", "正在查詢", "A consultar o armazém")
NEEDS_PROMETHEUS = _name("Needs Prometheus", "需要 Prometheus", "需要 Prometheus", "Precisa do Prometheus")
NOT_SETTLED = _name(
    "no window of this length has closed yet (it takes {} min)",
    "尚无此长度的窗口结束(需 {} 分钟)",
    "尚無此長度的窗口結束(需 {} 分鐘)",
    "ainda não fechou nenhuma janela deste tamanho (leva {} min)",
)
STORE_AWAY = _name(
    "The store does not answer; what you see is from before.",
    "存储无应答,所示为此前数据。",
    "儲存無應答,所示為先前數據。",
    "O armazém não responde; o que se vê é de antes.",
)
STORE_SLOW = _name(
    "The store takes long to answer; what you see is from before.",
    "存储应答缓慢,所示为此前数据。",
    "儲存應答緩慢,所示為先前數據。",
    "O armazém demora a responder; o que se vê é de antes.",
)
STORE_EMPTY = _name(
    "The store holds no indicators yet.", "存储中尚无指标。", "儲存中尚無指標。", "O armazém ainda não tem indicadores."
)
PAGE_AWAY = _name(
    "This page has lost its server; it tries again.",
    "页面与服务器断开,正在重试。",
    "頁面與伺服器斷開,正在重試。",
    "Esta página perdeu o servidor; tenta de novo.",
)
