"""Events of an ingesting service."""

from typing import Any

EXAMPLES: dict[str, dict[str, Any]] = {
    "new_data_received": {
        "source": "exchangerate_api",
        "data_count": 60,
        "collection_time": "2025-01-27T10:00:00Z",
        "processing_time_ms": 1500,
        "correlation_id": "uuid-1234",
    },
    "exchange_rate_updated": {
        "currency_code": "USD",
        "currency_name": "미국 달러",
        "deal_base_rate": 1330.5,
        "tts": 1335.2,
        "ttb": 1325.8,
        "source": "exchangerate_api",
        "recorded_at": "2025-01-27T09:59:58+00:00",
        "updated_at": "2025-01-27T19:00:00.250+09:00",
    },
    "data_processing_completed": {
        "source": "exchangerate_api",
        "total_processed": 60,
        "processing_time_ms": 1500,
        "completed_at": "2025-01-27T10:00:02Z",
        "correlation_id": "uuid-1234",
    },
    "cache_invalidation": {
        "cache_keys": ["exchange_rate:USD", "history:*"],
        "invalidation_type": "exchange_rate_update",
        "invalidated_at": "2025-01-27T10:00:03Z",
    },
}
